package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	batchPath  = "/access/v1/evaluations"
	batchItems = 100
)

// batch measures many decisions in one request, as a gateway asks that has a page of resources to show. OPA's server
// has no such request for one policy, so it is asked for each of the decisions.
func batch(ctx context.Context, b *bench) error {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	questions := g.questions[:len(g.questions)/batchItems*batchItems]
	if len(questions) == 0 {
		return fmt.Errorf("a batch has %d items: give more -requests", batchItems)
	}
	b.note("Mandate is asked %d questions at a time, and its latency is that of a batch", batchItems)
	var all servers
	defer func() { all.stop() }()
	if err := all.start(b.serveMandate(ctx, g, nil)); err != nil {
		return err
	}
	if err := all.start(b.serveOPA(ctx, g, questions)); err != nil {
		return err
	}
	if err := all[0].batch(g, questions); err != nil {
		return err
	}
	if err := b.compare(ctx, questions, all...); err != nil {
		return err
	}
	return b.race(ctx, b.overHTTP(all...))
}

// batch makes the server be asked in batches.
func (s *served) batch(g *ground, questions []question) error {
	s.name, s.items, s.answers, s.exchanges = "Mandate, batches", batchItems, mandateAnswers, nil
	for items := range slices.Chunk(questions, batchItems) {
		body, err := json.Marshal(map[string]any{"evaluations": items})
		if err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
		s.exchanges = append(s.exchanges, exchange{request: post(s.address, batchPath, g.authorization(), body)})
	}
	return nil
}

// mandateAnswers reads the answer to a batch.
func mandateAnswers(body []byte) ([]answer, error) {
	var document struct {
		Evaluations []jsontext.Value `json:"evaluations"`
	}
	err := json.Unmarshal(body, &document)
	answers := make([]answer, len(document.Evaluations))
	for i, item := range document.Evaluations {
		var failed error
		answers[i], failed = mandateAnswer(item)
		err = errors.Join(err, failed)
	}
	return answers, err
}
