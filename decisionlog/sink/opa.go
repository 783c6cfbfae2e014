package sink

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/decisionlog"
	"mandate/directory"
)

const (
	defaultUpload = 32 << 10 // as OPA's
	uploadTimeout = 30 * time.Second
)

// OPA posts records to a server as OPA does: as a JSON array of events, compressed by gzip.
type OPA struct {
	URL    string           // such as https://logs.example/logs
	Token  directory.Secret // sent as a bearer token, if there is one
	Upload int              // largest compressed body; 32 KiB when zero
	Client *http.Client
}

// NewOPAClient is an HTTP client for OPA, which follows no redirects: they would lead the token astray.
func NewOPAClient() *http.Client {
	return &http.Client{Timeout: uploadTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// event is a record in OPA's format. What OPA has no place for is custom.
type event struct {
	Labels      map[string]string `json:"labels"`
	DecisionID  string            `json:"decision_id"`
	Bundles     map[string]bundle `json:"bundles,omitempty"`
	Path        string            `json:"path"`
	Input       any               `json:"input,omitempty"`
	Result      any               `json:"result"`
	Erased      []string          `json:"erased,omitempty"`
	Masked      []string          `json:"masked,omitempty"`
	RequestedBy string            `json:"requested_by,omitempty"`
	Timestamp   time.Time         `json:"timestamp"`
	Metrics     map[string]int64  `json:"metrics"`
	Custom      custom            `json:"custom"`
}

type bundle struct {
	Revision string `json:"revision"`
}

type custom struct {
	Kind         decisionlog.Kind    `json:"kind"`
	DataRevision uint64              `json:"data_revision"`
	Remembered   bool                `json:"remembered"`
	Uncommitted  bool                `json:"uncommitted,omitzero"`
	Refused      *decisionlog.Reason `json:"refused,omitempty"`
	Footprint    []string            `json:"footprint,omitempty"`
	MaskFailed   bool                `json:"mask_failed,omitzero"`
}

func eventOf(tenant string, r decisionlog.Record) event {
	d := r.Description
	e := event{
		Labels: map[string]string{"app": "mandate", "tenant": tenant}, DecisionID: r.ID.String(),
		Path: d.Path(), Input: d.EventInput(), Result: d.Result(), Erased: d.Erased, Masked: d.Masked,
		RequestedBy: d.Details["address"], Timestamp: r.Asked().UTC(),
		Metrics: map[string]int64{"timer_server_handler_ns": int64(r.Took)},
		Custom: custom{Kind: d.Kind, DataRevision: uint64(r.DataRevision), Remembered: r.Remembered, Uncommitted: r.Uncommitted,
			Refused: d.Refused, Footprint: d.Footprint, MaskFailed: d.MaskFailed},
	}
	if d.PolicyRevision != "" {
		e.Bundles = map[string]bundle{"mandate": {d.PolicyRevision}}
	}
	return e
}

// tooLarge is a body that is larger than it may be, or than the server takes.
type tooLarge struct{ error }

// Deliver implements Destination. What is too large for one request is sent in halves.
func (d *OPA) Deliver(ctx context.Context, tenant string, batch []decisionlog.Record) (undeliverable int, err error) {
	body, err := d.body(tenant, batch)
	if err == nil {
		err = d.post(ctx, body)
	}
	if !errors.As(err, &tooLarge{}) {
		return 0, err
	}
	if len(batch) == 1 {
		return 1, nil
	}
	half := len(batch) / 2
	for _, part := range [][]decisionlog.Record{batch[:half], batch[half:]} {
		n, err := d.Deliver(ctx, tenant, part)
		if undeliverable += n; err != nil {
			return undeliverable, err
		}
	}
	return undeliverable, nil
}

func (d *OPA) body(tenant string, batch []decisionlog.Record) ([]byte, error) {
	events := make([]event, len(batch))
	for i, r := range batch {
		events[i] = eventOf(tenant, r)
	}
	var body bytes.Buffer
	packer := gzip.NewWriter(&body)
	if err := json.MarshalWrite(packer, events, json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, fmt.Errorf("encode records: %w", err)
	}
	if err := packer.Close(); err != nil {
		return nil, fmt.Errorf("compress records: %w", err)
	}
	limit := d.Upload
	if limit == 0 {
		limit = defaultUpload
	}
	if body.Len() > limit {
		return nil, tooLarge{fmt.Errorf("the records come to %d bytes", body.Len())}
	}
	return body.Bytes(), nil
}

func (d *OPA) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send records: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	if !d.Token.IsZero() {
		request.Header.Set("Authorization", "Bearer "+d.Token.Expose())
	}
	response, err := d.Client.Do(request)
	if err != nil {
		return fmt.Errorf("send records: %w", err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	switch {
	case response.StatusCode == http.StatusRequestEntityTooLarge:
		return tooLarge{fmt.Errorf("send records: %s", response.Status)}
	case response.StatusCode < 200 || response.StatusCode > 299:
		return fmt.Errorf("send records: %s", response.Status)
	}
	return nil
}
