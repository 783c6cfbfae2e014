package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"mandate/authn"
	"mandate/directory"
	"mandate/server"
)

// question is what decide asks, from its flags.
type question struct {
	subject, action, resource, org, context, asOf string
	remote                                        remote
	explain, all, json                            bool
}

const statusDenied = exitStatus(3)

func decideCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "decide",
		Short: "Make a decision from the command line",
		Long: `Make a decision from the command line: on a data folder, or at a running server with --server.

At a server the credential of the caller is the value of an Authorization header, taken from the variable
MANDATE_AUTHORIZATION or from --authorization-file: "Bearer mdt_ak_…" or "Basic …". Asking about others takes
the scope decide; --explain and --as-of take manage as well.

--as-of decides as it would have been decided at a revision or a time: by the facts and the policies of then.

The exit status is 0 when allowed, 3 when denied, 1 when there was no decision.`,
		Example: `  mandate decide --subject user:bob --action documents:write --resource document:report --org acme --explain
  MANDATE_AUTHORIZATION='Bearer mdt_ak_…' mandate decide --server http://127.0.0.1:8080 --subject user:bob \
      --action documents:read --resource document:report --org acme
  mandate decide --subject user:mallory --action documents:read --resource document:report --org acme --as-of 2026-11-17T10:00:00Z`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q.explain = q.explain || q.all
			body, err := q.body()
			if err != nil {
				return err
			}
			answer, err := q.ask(cmd, lookupEnv, body)
			if err != nil {
				return err
			}
			text := []byte(printableLines(explanationText(answer, q.all)))
			if q.json {
				if text, err = json.Marshal(answer, json.Deterministic(true), jsontext.WithIndent("  ")); err != nil {
					return fmt.Errorf("print the decision: %w", err)
				}
				text = append(text, '\n')
			}
			if err := output(cmd.OutOrStdout(), "%s", text); err != nil {
				return err
			}
			if !answer.Decision {
				return statusDenied
			}
			return nil
		},
	}
	addSettings(cmd)
	flags := cmd.Flags()
	flags.StringVar(&q.subject, "subject", "", "who, as type:id, such as user:alice")
	flags.StringVar(&q.action, "action", "", "what, such as documents:read")
	flags.StringVar(&q.resource, "resource", "", "on what, as type:id, such as document:report")
	flags.StringVar(&q.org, "org", "", "organization that the resource belongs to")
	flags.StringVar(&q.context, "context", "", "context of the request, a JSON object")
	q.remote.addFlags(flags)
	flags.StringVar(&q.asOf, "as-of", "", "revision or time (2026-11-17T10:00:00Z) as of which to decide")
	flags.BoolVar(&q.explain, "explain", false, "say which rules allowed it, or what would have to be different and what the closest rules failed by")
	flags.BoolVar(&q.all, "all", false, "with --explain: every rule that was tried and every fact that was read as well")
	flags.BoolVar(&q.json, "json", false, "print JSON")
	return cmd
}

// body is the AuthZEN evaluation request.
func (q question) body() ([]byte, error) {
	subjectType, subjectID, ok1 := strings.Cut(q.subject, ":")
	resourceType, resourceID, ok2 := strings.Cut(q.resource, ":")
	if !ok1 || !ok2 || q.action == "" {
		return nil, errors.New("give --subject type:id, --action and --resource type:id; see mandate decide --help")
	}
	resource := map[string]any{"type": resourceType, "id": resourceID}
	if q.org != "" {
		resource["properties"] = map[string]string{"org": q.org}
	}
	request := map[string]any{
		"subject": map[string]string{"type": subjectType, "id": subjectID},
		"action":  map[string]string{"name": q.action}, "resource": resource,
	}
	if q.context != "" {
		if value := jsontext.Value(q.context); !value.IsValid() || value.Kind() != '{' {
			return nil, errors.New("--context must be a JSON object")
		}
		request["context"] = jsontext.Value(q.context)
	}
	return json.Marshal(request)
}

func (q question) ask(cmd *cobra.Command, lookupEnv func(string) (string, bool), body []byte) (server.Explained, error) {
	if q.remote.chosen(cmd, lookupEnv) {
		return q.askServer(cmd, lookupEnv, body)
	}
	c, err := loadConfig(cmd, lookupEnv)
	if err != nil {
		return server.Explained{}, err
	}
	if err := q.remote.checkTenant(); err != nil {
		return server.Explained{}, err
	}
	c.PublicURL = c.publicURL(c.Listen)
	if _, ok := c.Tenants[q.remote.tenant]; !ok {
		c.Tenants[q.remote.tenant] = tenantConfig{}
	}
	s, err := openService(cmd.Context(), c, logger(cmd, c), nil)
	if err != nil {
		return server.Explained{}, err
	}
	operator := &authn.Principal{Type: authn.Workload, Subject: "operator", Scopes: []string{"decide", "manage"}}
	answer, err := s.server.Explain(cmd.Context(), directory.Tenant(q.remote.tenant), operator, body, q.asOf)
	if !q.explain {
		answer.Explanation = nil
	}
	return answer, errors.Join(err, s.close())
}

func (q question) askServer(cmd *cobra.Command, lookupEnv func(string) (string, bool), body []byte) (server.Explained, error) {
	var answer server.Explained
	path := "/access/v1/evaluation"
	if q.explain {
		path = "/v1/explain"
	}
	if q.asOf != "" {
		path += "?as_of=" + url.QueryEscape(q.asOf)
	}
	text, err := q.remote.send(cmd, lookupEnv, http.MethodPost, path, body)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fmt.Errorf("the server's answer is not a decision: %w", err)
	}
	return answer, nil
}
