package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"io"
	"os"
	"strings"

	"mandate/directory"
	"mandate/server"
)

//go:embed example.yaml
var exampleYAML string

// example is the directory of serve --dev with the secrets that were made for it.
type example struct {
	file *directory.File
	made []directory.Made
}

// newExample gives each user a password; the import makes the other secrets.
func newExample() (*example, error) {
	file, err := directory.ParseFile(strings.NewReader(exampleYAML))
	if err != nil {
		return nil, fmt.Errorf("the example:\n%w", err)
	}
	e := &example{file: file}
	for i := range file.Users {
		password, err := directory.MakeSecret(directory.KindPassword, file.Users[i].ID, rand.Reader)
		if err != nil {
			return nil, err
		}
		file.Users[i].Password = password
		e.made = append(e.made, directory.Made{Kind: directory.KindPassword, ID: file.Users[i].ID, Secret: password})
	}
	return e, nil
}

func (e *example) load(ctx context.Context, s *service) error {
	importer := directory.Importer{Store: s.store, Master: s.master, Progress: func(_, _ int, made []directory.Made) {
		e.made = append(e.made, made...)
	}}
	_, err := importer.Import(ctx, server.DefaultTenant, e.file)
	return err
}

func (e *example) secret(kind directory.SecretKind, id string) string {
	for _, m := range e.made {
		if m.Kind == kind && m.ID == id {
			return m.Secret.Expose()
		}
	}
	return ""
}

// writeVariables writes the credentials into a file that a shell reads, each under its id and kind: DOCUMENTS_GATEWAY_API_KEY.
func (e *example) writeVariables(file, url, mails string) error {
	var text strings.Builder
	fmt.Fprintf(&text, "export %s='%s' MAILS='%s'\n", serverEnv, url, mails)
	for _, m := range e.made {
		name := strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToUpper(m.ID + "_" + kindName(m.Kind)))
		fmt.Fprintf(&text, "export %s='%s'\n", name, m.Secret.Expose())
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write the credentials of the example: %w", err)
	}
	return nil
}

// print shows every credential, and five commands that work as they stand.
func (e *example) print(w io.Writer, url, policies, variables, mails string) {
	say(w, "Mandate serves an example at %s with %s.\n\n", url, policies)
	say(w, "  %-15s %s/docs\n  %-15s %s\n", "Documentation", url, "Mails land in", mails)
	say(w, "  %-15s . %s\n\n", "Variables", variables)
	say(w, "Its credentials, made for this run. The line above sets each as a variable, such as $DOCUMENTS_GATEWAY_API_KEY:\n")
	for _, m := range e.made {
		say(w, "  %-15s %-18s %s\n", kindName(m.Kind), m.ID, m.Secret.Expose())
	}
	say(w, "A vendor sends base64(vendor token:partner token) as its bearer token; the partner token of a delegated\nintegration is sent alone.\n")

	gateway := e.secret(directory.KindAPIKey, "documents-gateway")
	client := "acme-sync:" + e.secret(directory.KindClientSecret, "acme-sync")
	api := "documents-api:" + e.secret(directory.KindClientSecret, "documents-api")
	ask := "curl -s " + url + "/access/v1/evaluation -H 'Authorization: Bearer " + gateway + "' -H 'Content-Type: application/json' -d "
	token := "curl -s " + url + "/oauth2/token -u '" + client + "' -d grant_type=client_credentials -d audience=https://documents.example"
	for _, try := range []struct{ title, command string }{
		{"Allowed: carol is an editor of acme", ask +
			`'{"subject":{"type":"user","id":"carol"},"action":{"name":"documents:write"},"resource":{"type":"document","id":"report","properties":{"org":"acme"}}}'`},
		{"Denied, with the reason: bob is a viewer", ask +
			`'{"subject":{"type":"user","id":"bob"},"action":{"name":"documents:write"},"resource":{"type":"document","id":"report","properties":{"org":"acme"}}}'`},
		{"A client's secret becomes a scoped token", token},
		{"The documents API decides on that token", `TOKEN=$(` + token + ` | sed 's/.*"access_token":"\([^"]*\)".*/\1/'); ` +
			"curl -s " + url + "/access/v1/evaluation -u '" + api + "' -H 'Content-Type: application/json' -d " +
			`"{\"subject\":{\"type\":\"credential\",\"id\":\"authorization\",\"properties\":{\"authorization\":\"Bearer $TOKEN\"}},` +
			`\"action\":{\"name\":\"documents:read\"},\"resource\":{\"type\":\"document\",\"id\":\"report\",\"properties\":{\"org\":\"acme\"}}}"`},
		{"Three questions in one request", strings.Replace(ask, "evaluation ", "evaluations ", 1) +
			`'{"action":{"name":"documents:read"},"resource":{"type":"document","id":"report","properties":{"org":"acme"}},` +
			`"evaluations":[{"subject":{"type":"user","id":"alice"}},{"subject":{"type":"user","id":"erin"}},{"subject":{"type":"vendor","id":"backupco"}}]}'`},
	} {
		say(w, "\n# %s\n%s\n", try.title, try.command)
	}
	say(w, "\nStop with Ctrl-C; the store is thrown away.\n")
}
