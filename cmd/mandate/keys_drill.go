package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"mandate/directory"
)

// maxSecret bounds what is read as a secret.
const maxSecret = 4 << 10

// drillReport is what the server says of a credential that has leaked.
type drillReport struct {
	Holder      drillHolder      `json:"holder"`
	Record      jsontext.Value   `json:"record"`
	LastUsedAt  string           `json:"last_used_at"`
	Grants      []jsontext.Value `json:"grants"`
	Descendants []jsontext.Value `json:"descendants"`
	Changes     map[string]int   `json:"changes"`
	Complete    bool             `json:"complete"`
	Deeds       struct {
		Count    int              `json:"count"`
		First    string           `json:"first"`
		Last     string           `json:"last"`
		Deeds    []jsontext.Value `json:"deeds"`
		Complete bool             `json:"complete"`
	} `json:"deeds"`
	Reach searchAnswer `json:"reach"`
}

type drillHolder struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Org  string `json:"org"`
}

// path is that of the holder's record.
func (h drillHolder) path() (string, error) {
	switch h.Type {
	case "apikey", "client", "vendor":
		return "/v1/" + h.Type + "s/" + url.PathEscape(h.ID), nil
	case "integration":
		if h.Org == "" {
			return "", errors.New("--org is missing: the organization of the integration")
		}
		return "/v1/orgs/" + url.PathEscape(h.Org) + "/integrations/" + url.PathEscape(h.ID), nil
	}
	return "", fmt.Errorf("--type must be apikey, client, vendor or integration, and not %q", h.Type)
}

func drillCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	o := &operator{lookupEnv: lookupEnv}
	var file string
	var revoke bool
	h := drillHolder{}
	cmd := &cobra.Command{
		Use:   "drill {ID | -}",
		Short: "Say what became of an API key or another credential that has leaked, and revoke it",
		Long: `Say what became of a credential that has leaked: whose it is and what it is for, what was done with it according to the decision
log, what it reaches now, and what descends from it: refresh tokens and their access tokens, and the keys, clients, integrations,
webhooks and invitations that it has made, or whose secret it was shown, and what those have made in turn.

Name it by its ID, an API key unless --type says client, vendor or integration (by the id of its vendor, with --org). Or give the
secret itself, as it was found: - reads it from standard input, and --file from a file. A secret is never an argument, for those
are in the history of the shell and in the list of processes. It is sent to the server only, which does not log it. The key of a pair
leads to it, and its secret when Mandate has made it, as do the secrets of clients that Mandate has made.

With --revoke it is revoked with all of that in one transaction, after you have typed its id: keys are revoked for good, clients and
webhooks disabled, vendors and integrations suspended, invitations deleted. What else was changed by it is counted, and stays. The
policy mandate.manage is asked for apikeys.drill, and for the change of each record.`,
		Example: `  mandate keys drill acme-key
  pbpaste | mandate keys drill -
  mandate keys drill acme-key --revoke
  mandate keys drill --file leaked.txt --revoke --yes --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.leaked(cmd, args, file, &h); err != nil {
				return err
			}
			path, err := h.path()
			if err != nil {
				return err
			}
			answer, err := o.ask(cmd, call{method: http.MethodPost, path: path + "/drill"})
			if err != nil {
				return err
			}
			if o.json {
				err = jsonPrinter{cmd.OutOrStdout()}.print(answer)
			} else {
				err = printDrill(cmd.OutOrStdout(), answer)
			}
			if err != nil || !revoke {
				return err
			}
			if err := (verb{asks: "all that descends from it"}).confirm(cmd, place{ids: []string{h.ID}}); err != nil {
				return err
			}
			done, err := o.ask(cmd, call{method: http.MethodPost, path: path + "/drill/revoke", key: rand.Text()})
			if err != nil {
				return err
			}
			return o.print(cmd, done)
		},
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&h.Type, "type", "apikey", "what ID is: apikey, client, vendor or integration")
	cmd.Flags().StringVar(&h.Org, "org", "", "organization of the integration")
	cmd.Flags().StringVar(&file, "file", "", "file that has the secret")
	cmd.Flags().BoolVar(&revoke, "revoke", false, "revoke it with all that descends from it")
	cmd.Flags().Bool("yes", false, "do not ask")
	return cmd
}

// leaked finds out which credential is meant.
func (o *operator) leaked(cmd *cobra.Command, args []string, file string, h *drillHolder) error {
	var in io.Reader
	switch {
	case file != "" && len(args) > 0:
		return errors.New("give an ID or --file, not both")
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("read the secret: %w", err)
		}
		defer f.Close()
		in = f
	case len(args) == 0:
		return errors.New("ID is missing: that of the key, or - to read the secret from standard input")
	case args[0] == "-":
		in = cmd.InOrStdin()
	case strings.HasPrefix(args[0], "mdt_"):
		return errors.New("this is a secret, and now in the history of your shell: give it on standard input, with - in its place, or in a file with --file")
	default:
		h.ID = args[0]
		return usable("ID", h.ID)
	}
	text, err := io.ReadAll(io.LimitReader(in, maxSecret+1))
	if err != nil {
		return fmt.Errorf("read the secret: %w", err)
	}
	secret := directory.NewSecret(strings.TrimSpace(string(text)))
	if secret.IsZero() || len(text) > maxSecret {
		return errors.New("there is no secret to read, or it is too long")
	}
	body, err := json.Marshal(map[string]string{"secret": secret.Expose()})
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	answer, err := o.ask(cmd, call{method: http.MethodPost, path: "/v1/credentials/identify", body: body})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, h); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// printDrill writes the report for people.
func printDrill(out io.Writer, answer jsontext.Value) error {
	var d drillReport
	if err := json.Unmarshal(answer, &d); err != nil {
		return fmt.Errorf("the server's answer is no report of a drill: %w", err)
	}
	say(out, "%s:%s\n", printable(d.Holder.Type), printable(d.Holder.ID))
	if err := printRecord(out, d.Record); err != nil {
		return err
	}
	if d.LastUsedAt != "" {
		say(out, "last used at %s\n", printable(d.LastUsedAt))
	}
	say(out, "\nWhat was done with it: %d records", d.Deeds.Count)
	if d.Deeds.Count > 0 {
		say(out, ", the first at %s, the last at %s", printable(d.Deeds.First), printable(d.Deeds.Last))
	}
	say(out, "\n")
	sections := []struct {
		title, columns string
		rows           []jsontext.Value
	}{
		{"", "COUNT=count KIND=kind ACTION=action ORG=org OUTCOME=outcome AS=as FIRST=first LAST=last", d.Deeds.Deeds},
		{"What descends from it:", "TYPE=type ID=id ORG=org BY=action MADE_BY=by AT=at STATUS=status REVOKE=revoke", d.Descendants},
		{"Grants that rest on it, each with its tokens:", "ID=id TYPE=type USER=user ORG=org AUDIENCE=audience SCOPES=scopes CREATED=created_at EXPIRES=expires_at", d.Grants},
	}
	for _, s := range sections {
		if len(s.rows) == 0 {
			continue
		}
		if s.title != "" {
			say(out, "\n%s\n", s.title)
		}
		table := newTablePrinter(out, columns(s.columns))
		for _, row := range s.rows {
			if err := table.print(row); err != nil {
				return err
			}
		}
		if err := table.end(); err != nil {
			return err
		}
	}
	say(out, "\nWhat it reaches now:\n")
	reach := newTablePrinter(out, columns("RESOURCE=resource ACTIONS=actions"))
	for _, r := range d.Reach.Results {
		if err := printReached(reach, r); err != nil {
			return err
		}
	}
	if err := reach.end(); err != nil {
		return err
	}
	if d.Reach.Page.Next != "" {
		say(out, "and more: see mandate access what-can %s:%s\n", printable(d.Holder.Type), printable(d.Holder.ID))
	}
	for _, action := range slices.Sorted(maps.Keys(d.Changes)) {
		say(out, "It has also done %s, %d times: see mandate audit.\n", printable(action), d.Changes[action])
	}
	if !d.Complete || !d.Deeds.Complete {
		say(out, "This is not all: there is more than could be looked at in the time of one request.\n")
	}
	return nil
}
