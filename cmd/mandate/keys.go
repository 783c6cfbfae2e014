package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"mandate/directory"
	"mandate/tokens"
)

// keyList is what the server answers to each request about keys.
type keyList struct {
	Keys []tokens.Key `json:"keys"`
}

// keyRequest is one request about keys: to a server, or by the same means on a data folder.
type keyRequest struct {
	method, path string
	body         []byte
	do           func(context.Context, *tokens.Keyring) error
}

func keysCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	cmd := keyCommand(lookupEnv, &cobra.Command{
		Use:   "keys",
		Short: "List, rotate and revoke the keys that sign tokens",
		Long: `List the keys that sign the tokens of a tenant: at a running server with --server, or on its data folder
when no server runs on it. The API keys of organizations are in mandate apikeys.

A key that is next is published, and will sign when everybody can know it. One that is signing is used for new
tokens. One that is verifying has signed before; it stays published until the last of its tokens has expired.
Keys are rotated on schedule: see tokens.key_lifetime.

At a server the credential of the caller is the value of an Authorization header, taken from the variable
MANDATE_AUTHORIZATION or from --authorization-file. The policy mandate.manage decides what it may do: by the
built-in policies it takes the scope manage, of the whole tenant.`,
		Example: `  mandate keys --data ./mandate-data
  MANDATE_AUTHORIZATION='Bearer mdt_ak_…' mandate keys --server http://127.0.0.1:8080 --json`,
		Args: noSuchKeyVerb,
	}, listKeys)
	cmd.AddCommand(keyCommand(lookupEnv, &cobra.Command{Use: "list", Short: "List the keys, as does mandate keys alone", Args: cobra.NoArgs}, listKeys),
		rotateCommand(lookupEnv), revokeCommand(lookupEnv), drillCommand(lookupEnv))
	return cmd
}

func listKeys([]string) (keyRequest, error) {
	return keyRequest{http.MethodGet, "/v1/keys", nil, func(context.Context, *tokens.Keyring) error { return nil }}, nil
}

// noSuchKeyVerb leads those to API keys who look for them here.
func noSuchKeyVerb(cmd *cobra.Command, args []string) error {
	if err := noSuchVerb(cmd, args); err != nil {
		return fmt.Errorf("%w; these are the keys that sign tokens: API keys are in mandate apikeys", err)
	}
	return nil
}

func rotateCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var rotation struct {
		Algorithm string `json:"alg,omitempty"`
		Now       bool   `json:"now,omitempty"`
	}
	cmd := keyCommand(lookupEnv, &cobra.Command{
		Use:   "rotate",
		Short: "Publish the next signing keys",
		Long: `Publish the next signing key of each algorithm in use, and list the keys.

A next key signs a quarter of an hour later, when everybody who keeps a copy of the key set has it, and the former
one stays published until its last token has expired. So no valid token ever fails to verify.

With --now it signs at once, which others may notice until they fetch the key set again. When a key has leaked,
rotating is not enough: see mandate keys revoke.`,
		Example: `  mandate keys rotate --server http://127.0.0.1:8080
  mandate keys rotate --alg RS256 --data ./mandate-data`,
		Args: cobra.NoArgs,
	}, func([]string) (keyRequest, error) {
		body, err := json.Marshal(rotation)
		if err != nil {
			return keyRequest{}, fmt.Errorf("encode the request: %w", err)
		}
		return keyRequest{http.MethodPost, "/v1/keys/rotate", body, func(ctx context.Context, keys *tokens.Keyring) error {
			return keys.Rotate(ctx, rotation.Algorithm, rotation.Now)
		}}, nil
	})
	cmd.Flags().StringVar(&rotation.Algorithm, "alg", "", "only the key of this algorithm, also when none is in use yet: ES256, EdDSA, PS256, RS256")
	cmd.Flags().BoolVar(&rotation.Now, "now", false, "sign with it at once")
	return cmd
}

func revokeCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	return keyCommand(lookupEnv, &cobra.Command{
		Use:   "revoke KID",
		Short: "Revoke a signing key that has leaked",
		Long: `Remove a signing key, and list the keys that are left. All tokens that it has signed stop working: at Mandate at
once, elsewhere when the key set is fetched again, which may be kept for five minutes. If it was the key that signs,
a new one signs at once.`,
		Example: `  mandate keys revoke NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --server http://127.0.0.1:8080`,
		Args:    cobra.ExactArgs(1),
	}, func(args []string) (keyRequest, error) {
		return keyRequest{http.MethodPost, "/v1/keys/" + url.PathEscape(args[0]) + "/revoke", nil, func(ctx context.Context, keys *tokens.Keyring) error {
			return keys.Revoke(ctx, args[0])
		}}, nil
	})
}

// keyCommand lets the command make its request, and print the keys as they are after it.
func keyCommand(lookupEnv func(string) (string, bool), cmd *cobra.Command, request func(args []string) (keyRequest, error)) *cobra.Command {
	var at remote
	var asJSON bool
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := request(args)
		if err != nil {
			return err
		}
		list, err := q.send(cmd, lookupEnv, at)
		if err != nil {
			return err
		}
		if asJSON {
			text, err := json.Marshal(list, json.Deterministic(true), jsontext.WithIndent("  "))
			if err != nil {
				return fmt.Errorf("print the keys: %w", err)
			}
			return output(cmd.OutOrStdout(), "%s\n", text)
		}
		return printKeys(cmd.OutOrStdout(), list.Keys)
	}
	addSettings(cmd)
	at.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (q keyRequest) send(cmd *cobra.Command, lookupEnv func(string) (string, bool), at remote) (list keyList, err error) {
	if at.chosen(cmd, lookupEnv) {
		text, err := at.send(cmd, lookupEnv, q.method, q.path, q.body)
		if err != nil {
			return list, err
		}
		if err := json.Unmarshal(text, &list); err != nil {
			return list, fmt.Errorf("the server's answer is not a list of keys: %w", err)
		}
		return list, nil
	}
	c, err := loadConfig(cmd, lookupEnv)
	if err != nil {
		return list, err
	}
	if err := at.checkTenant(); err != nil {
		return list, err
	}
	store, master, err := openExisting(cmd.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		return list, err
	}
	keys := tokens.NewKeyring(store, tokens.KeyOptions{Tenant: directory.Tenant(at.tenant), Master: master, Lifetime: c.Tokens.KeyLifetime, Now: time.Now})
	if err = q.do(cmd.Context(), keys); err == nil {
		list.Keys, err = keys.List(cmd.Context())
	}
	return list, errors.Join(err, store.Close())
}

func printKeys(w io.Writer, keys []tokens.Key) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	say(table, "KEY\tALGORITHM\tSTATUS\tCREATED\tSIGNS FROM\n")
	for _, key := range keys {
		say(table, "%s\t%s\t%s\t%s\t%s\n", key.ID, key.Algorithm, key.Status, key.CreatedAt.Format(time.RFC3339), key.SignsFrom.Format(time.RFC3339))
	}
	return flush(table)
}
