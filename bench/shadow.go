package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/engine"
	"mandate/manage"
	"mandate/replay"
)

// shadowing measures remembered decisions while a candidate decides beside the active policies, beside the same without. Each is a
// process with its own copy of the data. Whatever is asked has been asked, and compared, before.
func shadowing(ctx context.Context, b *bench) error {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	var all servers
	defer func() { all.stop() }()
	for _, name := range []string{"Mandate with a shadow", "Mandate without"} {
		folder := filepath.Join(b.temp, fmt.Sprint(len(all)))
		if err := g.copyTo(folder); err != nil {
			return err
		}
		if err := all.start(b.serveFolder(ctx, folder, g, g.questions)); err != nil {
			return err
		}
		all[len(all)-1].name = name
	}
	ask := func(method, path string, body, answer any) error {
		return askManagement(ctx, all[0], g.bearer(operatorID), method, path, body, answer)
	}
	if err := beginShadow(ctx, ask); err != nil {
		return err
	}
	if err := b.compare(ctx, g.questions, all...); err != nil {
		return err
	}
	if err := b.race(ctx, b.overHTTP(all...)); err != nil {
		return err
	}
	var live replay.Live
	if err := ask(http.MethodGet, "/v1/policies/shadow/report", nil, &live); err != nil {
		return err
	}
	if live.Changed() || live.Decided == 0 {
		return fmt.Errorf("the candidate decides otherwise, or not at all: %d compared, %d different", live.Decided, live.ToAllow+live.ToDeny+live.Different)
	}
	b.note("%d decisions were compared, %d found no room", live.Decided, live.Skipped[replay.Dropped])
	return nil
}

// beginShadow puts a candidate that decides the same beside the active set.
func beginShadow(ctx context.Context, ask func(method, path string, body, answer any) error) error {
	candidate, err := candidateOf(ctx)
	if err != nil {
		return err
	}
	var files []engine.File
	for _, f := range candidate.Files() {
		if !strings.HasSuffix(f.Name, "_test.rego") { // they take longer than a request may
			files = append(files, f)
		}
	}
	var pushed struct {
		ID string `json:"id"`
	}
	if err := ask(http.MethodPost, "/v1/policies", manage.PolicyFiles{Files: files}, &pushed); err != nil {
		return err
	}
	return ask(http.MethodPost, "/v1/policies/"+pushed.ID+"/shadow", nil, &pushed)
}

// askManagement asks the management API.
func askManagement(ctx context.Context, s *served, authorization, method, path string, body, answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.address+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	request.Header.Set("Authorization", authorization)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	given, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read the answer to %s: %w", path, err)
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s is answered %s: %s", path, response.Status, given)
	}
	if err := json.Unmarshal(given, answer); err != nil {
		return fmt.Errorf("read the answer to %s: %w", path, err)
	}
	return nil
}
