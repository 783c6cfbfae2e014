package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"mandate/decisionlog"
)

// recordFilters narrow what is found of the decision log.
func recordFilters() []filter {
	return []filter{
		{"subject", "subject", "who it was about, as type:id, such as user:bob"},
		{"action", "action", "what, such as documents:read"},
		{"resource", "resource", "on what, as type:id, such as document:report"},
		{"org", "org", "organization of the resource"},
		{"caller", "caller", "who asked, as type:id, such as apikey:documents-gateway"},
		{"outcome", "outcome", "allow or deny"},
		{"reason", "reason", "code of a reason, such as role"},
		{"kind", "kind", "decision, authentication, token, query (the data API) or as_of"},
		{"point", "point", "mandate/access, mandate/tokens or mandate/manage"},
		{"policy", "policy_revision", "revision of the policy set that decided"},
	}
}

func addRecordFilters(cmd *cobra.Command) {
	for _, f := range recordFilters() {
		cmd.Flags().String(f.flag, "", f.usage)
	}
}

// recordQuery are the parameters for the filters that were given.
func recordQuery(cmd *cobra.Command, more ...string) url.Values {
	query := url.Values{}
	for _, f := range recordFilters() {
		if value, _ := cmd.Flags().GetString(f.flag); value != "" {
			query.Set(f.parameter, value)
		}
	}
	for _, flag := range more {
		if value, _ := cmd.Flags().GetString(flag); value != "" {
			query.Set(flag, value)
		}
	}
	return query
}

const recordColumns = "TIME=time OUTCOME=outcome SUBJECT=subject ACTION=action RESOURCE=resource ORG=org REASON=reason ID=id"

func findCommand(o *operator) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "find",
		Short: "Find decisions by who, what, when and why",
		Long: `Find decisions by who, what, when and why, the newest first.

--since and --until take a time (2026-11-17T10:00:00Z) or for how long back (24h). A record is shown whole by
mandate decisions show ID, and mandate decisions explain ID says why it was decided so.`,
		Example: `  mandate decisions find --subject user:bob --outcome deny --since 24h
  mandate decisions find --org acme --action documents:write --json
  mandate decisions find --kind authentication --since 1h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			limit, _ := cmd.Flags().GetInt("limit")
			if limit < 0 {
				return errors.New("--limit must be 0, for all, or more")
			}
			query := recordQuery(cmd, "since", "until")
			out, err := o.printer(cmd, columns(recordColumns))
			if err != nil {
				return err
			}
			for printed := 0; ; {
				query.Set("limit", strconv.Itoa(pageSize))
				if limit > 0 {
					query.Set("limit", strconv.Itoa(min(pageSize, limit-printed)))
				}
				page, err := o.records(cmd, query)
				if err != nil {
					return errors.Join(out.end(), err)
				}
				if err := o.printRecords(out, page.Items); err != nil {
					return err
				}
				printed += len(page.Items)
				if page.Next == "" {
					return out.end()
				}
				if limit > 0 && printed >= limit {
					err := out.end()
					say(cmd.ErrOrStderr(), "There are more than these %d: narrow them, or list more with --limit.\n", printed)
					return err
				}
				query.Set("cursor", page.Next)
			}
		},
	}
	addRecordFilters(cmd)
	cmd.Flags().String("since", "", "not before this time, or not longer ago than this")
	cmd.Flags().String("until", "", "before this time, or longer ago than this")
	cmd.Flags().Int("limit", 50, "how many at most; 0 for all")
	cmd.Flags().Bool("csv", false, "print a spreadsheet (CSV)")
	return cmd
}

func tailCommand(o *operator) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show decisions as they are made",
		Long:  "Show decisions as they are made, until it is interrupted. --count ends it after so many.",
		Example: `  mandate decisions tail --outcome deny
  mandate decisions tail --org acme --json | jq .reasons`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			count, _ := cmd.Flags().GetInt("count")
			since, _ := cmd.Flags().GetString("since")
			query := recordQuery(cmd)
			query.Set("wait", "10")
			query.Set("after", cmp.Or(since, "now"))
			for shown := 0; ; {
				page, err := o.records(cmd, query)
				if cmd.Context().Err() != nil {
					return nil //nolint:nilerr // it was interrupted, which is how it ends
				}
				if err != nil {
					return err
				}
				if page.After == "" {
					return errors.New("the server's answer does not say where it ends")
				}
				query.Set("after", page.After)
				for _, item := range page.Items {
					if err := o.tellRecord(cmd, item); err != nil {
						return err
					}
					if shown++; shown == count {
						return nil
					}
				}
			}
		},
	}
	addRecordFilters(cmd)
	cmd.Flags().Int("count", 0, "end after so many; 0 for never")
	cmd.Flags().String("since", "", "begin after the record with this id, not now")
	return cmd
}

func recordCommand(o *operator) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a record of the decision log",
		Long:    "Show a record of the decision log: what was asked, what was answered, and which facts that rests on.",
		Example: `  mandate decisions show 1hbc4s8k2m0pq`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			document, err := o.ask(cmd, call{method: http.MethodGet, path: "/v1/decisions/" + url.PathEscape(args[0]), list: "mandate decisions find"})
			if err != nil {
				return err
			}
			return o.print(cmd, document)
		},
	}
}

// recordPage is a page of the decision log, as the server sends it.
type recordPage struct {
	Items []jsontext.Value `json:"items"`
	Next  string           `json:"next_cursor"`
	After string           `json:"after"`
}

func (o *operator) records(cmd *cobra.Command, query url.Values) (page recordPage, err error) {
	answer, err := o.ask(cmd, call{method: http.MethodGet, path: "/v1/decisions?" + query.Encode()})
	if err != nil {
		return page, err
	}
	if err := json.Unmarshal(answer, &page); err != nil {
		return page, fmt.Errorf("the server's answer is not a listing: %w", err)
	}
	return page, nil
}

// printRecords prints the documents as they are, or what a person looks for in them.
func (o *operator) printRecords(out printer, documents []jsontext.Value) error {
	for _, document := range documents {
		if !o.json {
			row, err := recordRow(document)
			if err != nil {
				return err
			}
			if document, err = json.Marshal(row); err != nil {
				return fmt.Errorf("print a record: %w", err)
			}
		}
		if err := out.print(document); err != nil {
			return err
		}
	}
	return nil
}

// tellRecord prints a record in a line, at once.
func (o *operator) tellRecord(cmd *cobra.Command, document jsontext.Value) error {
	if o.json {
		return jsonPrinter{cmd.OutOrStdout()}.print(document)
	}
	row, err := recordRow(document)
	if err != nil {
		return err
	}
	return output(cmd.OutOrStdout(), "%s  %-5s  %s\n", row.Time, row.Outcome,
		printable(strings.Join(strings.Fields(strings.Join([]string{row.Subject, row.Action, row.Resource, row.Org, row.Reason, row.ID}, "  ")), "  ")))
}

// shownRecord is what a person looks for in a record.
type shownRecord struct {
	Time     string `json:"time"`
	Outcome  string `json:"outcome"`
	Subject  string `json:"subject"`
	Action   string `json:"action"`
	Resource string `json:"resource"`
	Org      string `json:"org"`
	Reason   string `json:"reason"`
	ID       string `json:"id"`
}

func recordRow(document jsontext.Value) (shownRecord, error) {
	var d decisionlog.DecisionRecord
	if err := json.Unmarshal(document, &d); err != nil {
		return shownRecord{}, fmt.Errorf("the server's answer is not a record: %w", err)
	}
	about := d.About()
	row := shownRecord{Time: d.Time.UTC().Format("2006-01-02T15:04:05.000Z"), Outcome: "deny", Subject: about.Subject, Action: about.Action,
		Resource: about.Resource, Org: about.Org, ID: d.ID}
	if d.Allow {
		row.Outcome = "allow"
	}
	if len(d.Reasons) > 0 {
		row.Reason = d.Reasons[0].Code
	}
	return row, nil
}
