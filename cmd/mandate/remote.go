package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mandate/directory"
	"mandate/server"
)

const (
	authorizationEnv = "MANDATE_AUTHORIZATION"
	maxAnswer        = 16 << 20
	remoteTimeout    = 30 * time.Second
)

// remote is a tenant, and the running server that it is asked at if there is one.
type remote struct{ tenant, server, authorizationFile string }

func (r *remote) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&r.tenant, "tenant", string(server.DefaultTenant), "tenant to ask")
	flags.StringVar(&r.server, "server", "", "URL of a running server (default: work on the data folder)")
	flags.StringVar(&r.authorizationFile, "authorization-file", "", "file with the Authorization header for --server (default: $"+authorizationEnv+")")
}

// send makes a request to the server, with the credential that the operator gave, and returns the body of the answer.
func (r remote) send(cmd *cobra.Command, lookupEnv func(string) (string, bool), method, path string, body []byte) ([]byte, error) {
	authorization, _ := lookupEnv(authorizationEnv)
	if r.authorizationFile != "" {
		text, err := os.ReadFile(r.authorizationFile)
		if err != nil {
			return nil, fmt.Errorf("read the credential: %w", err)
		}
		authorization = strings.TrimSpace(string(text))
	}
	if authorization == "" {
		return nil, errors.New("no credential for the server: set " + authorizationEnv + " or --authorization-file")
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), remoteTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, server.Issuer(r.server, directory.Tenant(r.tenant))+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	plaintext, _ := cmd.Flags().GetBool("allow-plaintext")
	if request.URL.Scheme != "https" && !plaintext && !server.Loopback(request.URL.Hostname()) {
		return nil, fmt.Errorf("%s is not a loopback address and its URL is not https, so %s: use https, or --allow-plaintext", request.URL.Host, plainText)
	}
	request.Header.Set("Authorization", authorization)
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	// A redirect could lead to plain text.
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s: %s", response.Status, refusalText(text))
	}
	return text, nil
}

// refusalText is the message of an error body, whichever of the two shapes it has.
func refusalText(body []byte) string {
	var message string
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &message) != nil && json.Unmarshal(body, &problem) == nil {
		message = problem.Detail
	}
	return cmp.Or(message, strings.TrimSpace(string(body)))
}
