package authn

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"mandate/outbound"
)

const (
	fetchTimeout  = 5 * time.Second // for all that a fetch takes
	maxFetchBytes = 1 << 20
)

func (o ProviderOptions) outbound() outbound.Options {
	return outbound.Options{AllowHTTP: o.AllowHTTP, AllowPrivate: o.AllowPrivate,
		Timeout: fetchTimeout, AnswerBytes: maxFetchBytes, ConnsPerHost: 4}
}

func newFetchClient(o ProviderOptions) *http.Client {
	client := outbound.NewClient(o.outbound())
	client.Transport = onlyOK{client.Transport}
	return client
}

// onlyOK takes an answer for one only when its status is 200.
type onlyOK struct{ http.RoundTripper }

func (t onlyOK) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, statusError(response.StatusCode)
	}
	return response, nil
}

type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("the provider answered with status %d", int(e))
}

// fetch reads a document of a provider.
func fetch(ctx context.Context, client *http.Client, from string) ([]byte, error) {
	body, _, err := fetchWithHeader(ctx, client, from)
	return body, err
}

func fetchWithHeader(ctx context.Context, client *http.Client, from string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", from, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", from, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", from, err)
	}
	return body, response.Header, nil
}
