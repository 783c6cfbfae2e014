package delivery

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mandate/directory"
	"mandate/outbound"
)

// NewClient makes the client that posts to webhooks. It may be shared by the queues of several tenants.
func NewClient(allowHTTP bool, allowPrivate []netip.Prefix) *http.Client {
	return outbound.NewClient(outbound.Options{AllowHTTP: allowHTTP, AllowPrivate: allowPrivate,
		Timeout: 10 * time.Second, AnswerBytes: 64 << 10, ConnsPerHost: maxRunning})
}

// post sends the body to the endpoint. Any status of 2xx is a success; the answer's body says nothing.
func (q *Queue) post(ctx context.Context, e entry, to string, secrets []directory.Secret, body []byte) outcome {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return outcome{problem: "the URL is malformed", end: true}
	}
	now := q.o.Now()
	signatures, err := sign(secrets, e.ID, now, body)
	if err != nil {
		return outcome{problem: "the webhook's secret cannot be used", end: true}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Mandate")
	request.Header.Set("Webhook-Id", e.ID)
	request.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	request.Header.Set("Webhook-Signature", signatures)
	response, err := q.o.HTTP.Do(request)
	if err != nil {
		return outcome{problem: shortly(err)}
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body) // so that the connection can be used again
	o := outcome{problem: fmt.Sprintf("answered with status %d", response.StatusCode)}
	switch response.StatusCode {
	case http.StatusGone:
		o.end, o.gone = true, true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		o.retryAfter = retryAfter(response.Header.Get("Retry-After"), now)
	default:
		if response.StatusCode/100 == 2 {
			return outcome{}
		}
	}
	return o
}

// sign makes a signature by each secret (Standard Webhooks, "Signature scheme").
func sign(secrets []directory.Secret, id string, at time.Time, body []byte) (string, error) {
	var signatures []string
	for _, secret := range secrets {
		key, err := directory.WebhookKey(secret)
		if err != nil {
			return "", err
		}
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signatures, " "), nil
}

// retryAfter is how long the receiver wants to be left alone (RFC 9110 §10.2.3), up to a bound.
func retryAfter(value string, now time.Time) time.Duration {
	const most = 24 * time.Hour
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return max(0, min(wait, most))
}

// shortly says why nothing was answered, without what the URL may hold and what only Mandate's own network knows.
func shortly(err error) string {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		if wrapped.Timeout() {
			return "did not answer in time"
		}
		err = wrapped.Err
	}
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		return "the host of the URL has no address"
	}
	if errors.Is(err, outbound.ErrNotPublic) {
		return "the host of the URL has an address that is not public"
	}
	return clip(err.Error())
}

// clip keeps what a person would read.
func clip(s string) string {
	const most = 200
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}
