package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
)

// resultsPerPage is how many results of a search are asked for at once.
const resultsPerPage = 500

// searchAnswer is a page of a search.
type searchAnswer struct {
	Page struct {
		Next string `json:"next_token"`
	} `json:"page"`
	Context struct {
		Candidates []string `json:"candidates"`
		Asked      int      `json:"asked"`
		Failed     int      `json:"failed"`
		Reasons    []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"reasons"`
	} `json:"context"`
	Results []jsontext.Value `json:"results"`
}

// typed splits type:id.
func typed(name, text, usual string) (map[string]any, error) {
	kind, id, ok := strings.Cut(text, ":")
	if !ok {
		kind, id = usual, text
	}
	if kind == "" || id == "" {
		return nil, fmt.Errorf("%s must be type:id, and not %q", name, text)
	}
	return map[string]any{"type": kind, "id": id}, nil
}

// search follows the pages of a search, and says in the end who was asked about.
func (o *operator) search(cmd *cobra.Command, path string, body map[string]any, each func(result jsontext.Value, code, message string) error) (asked searched, err error) {
	meter := newMeter(cmd.ErrOrStderr())
	defer meter.clear()
	page := map[string]any{"limit": resultsPerPage}
	body = maps.Clone(body)
	body["page"] = page
	if everybody, _ := cmd.Flags().GetBool("everybody"); everybody {
		body["options"] = map[string]any{"everybody": true}
	}
	for {
		text, err := json.Marshal(body)
		if err != nil {
			return asked, fmt.Errorf("encode the request: %w", err)
		}
		answer, err := o.ask(cmd, call{method: http.MethodPost, path: path, body: text})
		if err != nil {
			return asked, err
		}
		var found searchAnswer
		if err := json.Unmarshal(answer, &found); err != nil {
			return asked, fmt.Errorf("the server's answer is not that of a search: %w", err)
		}
		for i, result := range found.Results {
			var code, message string
			if i < len(found.Context.Reasons) {
				code, message = found.Context.Reasons[i].Code, found.Context.Reasons[i].Message
			}
			if err := each(result, code, message); err != nil {
				return asked, err
			}
		}
		asked.add(found)
		meter.show(amount{records: asked.asked})
		if found.Page.Next == "" {
			return asked, nil
		}
		page["token"] = found.Page.Next
	}
}

// searched is who was asked about in how many decisions.
type searched struct {
	about         []string
	asked, failed int
}

func (s *searched) add(a searchAnswer) {
	s.asked += a.Context.Asked
	s.failed += a.Context.Failed
	for _, about := range a.Context.Candidates {
		if !slices.Contains(s.about, about) {
			s.about = append(s.about, about)
		}
	}
}

// tell says to people what an answer is about.
func (s searched) tell(out io.Writer, everybody bool) {
	say(out, "Asked about:\n")
	for _, about := range s.about {
		say(out, "  %s\n", printable(about))
	}
	if s.failed > 0 {
		say(out, "The policy failed for %d of %d, which count as denied: see the log of the service.\n", s.failed, s.asked)
	}
	if !everybody {
		say(out, "A policy of your own may allow others: --everybody asks about all there are.\n")
	}
}

func whoCanCommand(o *operator) *cobra.Command {
	var org string
	var types []string
	cmd := &cobra.Command{
		Use:   "who-can ACTION RESOURCE",
		Short: "Say who can do something",
		Long: `Say who can do something to a resource, which is type:id, by which reason of the policy.

Asked about are those who can have to do with it: the members of its organization and of those above it, whatever their status,
the keys and clients of the organization and of the whole tenant, vendors with an integration, and who has a relation to the
resource. A policy of your own may allow others, too: --everybody asks about all users, clients, keys and vendors, page by page.

The organization of a resource is in its properties, so name it with --org; organization:acme is its own. It is the Search API of
AuthZEN (POST /access/v1/search/subject).`,
		Example: `  mandate access who-can documents:read document:plan --org acme
  mandate access who-can documents:write organization:acme --type user --csv
  mandate access who-can documents:read document:plan --everybody --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			resource, err := typed("RESOURCE", args[1], "")
			if err != nil {
				return err
			}
			if org != "" {
				resource["properties"] = map[string]string{"org": org}
			}
			out, err := o.printer(cmd, columns("SUBJECT=subject REASON=reason WHY=message"))
			if err != nil {
				return err
			}
			var all searched
			for _, kind := range types {
				body := map[string]any{"subject": map[string]string{"type": kind}, "action": map[string]string{"name": args[0]}, "resource": resource}
				asked, err := o.search(cmd, "/access/v1/search/subject", body, func(result jsontext.Value, code, message string) error {
					var subject struct {
						Type string `json:"type"`
						ID   string `json:"id"`
					}
					if err := json.Unmarshal(result, &subject); err != nil {
						return fmt.Errorf("read the server's answer: %w", err)
					}
					return printRow(out, map[string]any{"subject": subject.Type + ":" + subject.ID, "reason": code, "message": message})
				})
				if err != nil {
					return errors.Join(out.end(), err)
				}
				all.asked, all.failed, all.about = all.asked+asked.asked, all.failed+asked.failed, append(all.about, asked.about...)
			}
			err = out.end()
			everybody, _ := cmd.Flags().GetBool("everybody")
			all.tell(cmd.ErrOrStderr(), everybody)
			return err
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "organization of the resource")
	cmd.Flags().StringSliceVar(&types, "type", []string{"user", "client", "apikey", "vendor"}, "types of subjects to ask about")
	addSearchFlags(cmd)
	return cmd
}

func addSearchFlags(cmd *cobra.Command) {
	cmd.Flags().Bool("everybody", false, "ask about all there are, not only about what can have to do with it")
	cmd.Flags().Bool("csv", false, "print CSV, with formulas made harmless")
}

func printRow(out printer, row any) error {
	text, err := json.Marshal(row, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	return out.print(text)
}

func whatCanCommand(o *operator) *cobra.Command {
	var org string
	cmd := &cobra.Command{
		Use:   "what-can SUBJECT",
		Short: "Say what somebody can do",
		Long: `Say what a subject can do, in each organization and to each resource that was shared with it. SUBJECT is type:id, such as
user:alice, client:sync, apikey:acme-key or vendor:backupco; one without a type is a user.

Asked about are the organizations that the subject belongs to and those below them, and the resources that it has a relation to;
for each the actions that are known by name: permissions of roles, scopes of APIs, and those of the subject's own record. What is
allowed by a pattern such as documents:* can be done under names that nobody has listed. --everybody asks about all organizations
and all resources that anybody has a relation to.`,
		Example: `  mandate access what-can alice
  mandate access what-can apikey:acme-key --org acme
  mandate access what-can client:sync --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			subject, err := typed("SUBJECT", args[0], "user")
			if err != nil {
				return err
			}
			out, err := o.printer(cmd, columns("RESOURCE=resource ACTIONS=actions REASONS=reasons"))
			if err != nil {
				return err
			}
			body := map[string]any{"subject": subject}
			if org != "" {
				body["org"] = org
			}
			asked, err := o.search(cmd, "/v1/access/reach", body, func(result jsontext.Value, _, _ string) error { return printReached(out, result) })
			err = errors.Join(out.end(), err)
			if err != nil {
				return err
			}
			everybody, _ := cmd.Flags().GetBool("everybody")
			asked.tell(cmd.ErrOrStderr(), everybody)
			return nil
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "only in this organization")
	addSearchFlags(cmd)
	return cmd
}

// printReached prints a resource with the actions that can be taken on it.
func printReached(out printer, result jsontext.Value) error {
	var reached struct {
		Resource struct {
			Type       string `json:"type"`
			ID         string `json:"id"`
			Properties struct {
				Org string `json:"org"`
			} `json:"properties"`
		} `json:"resource"`
		Actions []struct {
			Name   string `json:"name"`
			Reason string `json:"reason"`
		} `json:"actions"`
	}
	if err := json.Unmarshal(result, &reached); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	row := map[string]any{"resource": reached.Resource.Type + ":" + reached.Resource.ID}
	if org := reached.Resource.Properties.Org; org != "" {
		row["org"] = org
	}
	var actions, reasons []string
	for _, a := range reached.Actions {
		actions = append(actions, a.Name)
		if !slices.Contains(reasons, a.Reason) {
			reasons = append(reasons, a.Reason)
		}
	}
	row["actions"], row["reasons"] = actions, reasons
	return printRow(out, row)
}
