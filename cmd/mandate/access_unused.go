package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"mandate/access"
)

// unusedAnswer is a report, or how far it has come.
type unusedAnswer struct {
	Done     bool            `json:"done"`
	Progress access.Progress `json:"progress"`
	Report   access.Unused   `json:"report"`
}

func unusedCommand(o *operator) *cobra.Command {
	var since string
	var all bool
	cmd := &cobra.Command{
		Use:   "unused",
		Short: "List the roles, scopes, integrations and rules that no allow has rested on",
		Long: `List the roles, scopes, integrations and rules that no allow of the decision log has rested on since a time.

The server decides each question of the log again, as of its revision, and looks at what the answer rests on: a role or a scope
counts as used when the answer would not be allow without it, or is with it alone, so that of two roles that grant the same both
count; an integration when there is no allow without it; a rule of the active policies when it held. That is looked at for a few of
the questions that differ only in who and what they are about. Rules that held only in denials, such as those that word a refusal,
are listed as such.

Facts are known as of earlier only for as long as the history is kept (setting history). Of what is older it is decided as of now
when none of its facts has changed since; if one has, all that the decision had read counts as used. How many those are is said on
standard error. What is listed as never used may still be needed by what the log does not have: offline copies of keys, or times
before it began.`,
		Example: `  mandate access unused --since 90d
  mandate access unused --since 2026-08-01T00:00:00Z --csv
  mandate access unused --since 30d --all --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := sinceOf(since, time.Now())
			if err != nil {
				return err
			}
			out, err := o.printer(cmd, columns("KIND=kind NAME=name ORG=org OF=holder LAST_USED=last_used WHERE=where"))
			if err != nil {
				return err
			}
			report, err := o.unused(cmd, from)
			if err != nil {
				return err
			}
			for _, kind := range []struct {
				name string
				of   access.Items
			}{{"role", report.Roles}, {"scope", report.Scopes}, {"integration", report.Vendors}, {"rule", report.Rules}} {
				items := kind.of.Unused
				if all {
					items = append(items, kind.of.Used...)
				}
				for _, i := range items {
					if err := printRow(out, unusedRow(kind.name, i)); err != nil {
						return errors.Join(out.end(), err)
					}
				}
			}
			err = out.end()
			say(cmd.ErrOrStderr(), "Of %d roles %d are used, of %d scopes %d, of %d integrations %d, of %d rules %d; by %d decisions on %d questions since %s.\n",
				report.Roles.Total, len(report.Roles.Used), report.Scopes.Total, len(report.Scopes.Used), report.Vendors.Total, len(report.Vendors.Used),
				report.Rules.Total, len(report.Rules.Used), report.Records, report.Questions, report.Since.Format(time.RFC3339))
			if report.Assumed > 0 {
				say(cmd.ErrOrStderr(), "%d of the questions cannot be decided again exactly: all that they had read counts as used.\n", report.Assumed)
			}
			if report.Skipped > 0 || report.Truncated {
				say(cmd.ErrOrStderr(), "It is too much to be told whole: %d questions were left out. Ask for a shorter time with --since.\n", report.Skipped)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&since, "since", "90d", "a time (RFC 3339), or for how long back: 90d, 12h")
	cmd.Flags().BoolVar(&all, "all", false, "list what was used, too, with when it was used last")
	cmd.Flags().Bool("csv", false, "print CSV, with formulas made harmless")
	return cmd
}

// unused asks until the report is done.
func (o *operator) unused(cmd *cobra.Command, from time.Time) (*access.Unused, error) {
	meter := newMeter(cmd.ErrOrStderr())
	defer meter.clear()
	now := time.Now()
	for {
		answer, err := o.ask(cmd, call{method: http.MethodGet, path: "/v1/access/unused?" + url.Values{"since": {from.UTC().Format(time.RFC3339)}}.Encode()})
		if err != nil {
			return nil, err
		}
		var a unusedAnswer
		if err := json.Unmarshal(answer, &a); err != nil {
			return nil, fmt.Errorf("the server's answer is not a report: %w", err)
		}
		if a.Done {
			return &a.Report, nil
		}
		// The log is read in the order of time, so how far it has come is known in time only.
		total := now.Sub(from)
		meter.show(amount{records: a.Progress.Records, done: int64(max(a.Progress.At.Sub(from), 0)), total: int64(total)})
	}
}

func unusedRow(kind string, i access.Item) map[string]any {
	row := map[string]any{"kind": kind, "name": i.Name, "last_used": "never"}
	if i.LastUsed != nil {
		row["last_used"] = i.LastUsed.Format(time.RFC3339)
	} else if i.InDenials {
		row["last_used"] = "in denials only"
	}
	if i.Org != "" {
		row["org"] = i.Org
	}
	if i.Holder != "" {
		row["holder"] = i.Holder
	}
	if i.File != "" {
		row["where"] = i.File + ":" + strconv.Itoa(i.Line)
	}
	return row
}

// sinceOf is a time, or one as long ago as the text says, in which d stands for days.
func sinceOf(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		ago = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || ago < 0 {
		return now, fmt.Errorf("--since must be a time (RFC 3339), or for how long back, such as 90d or 12h, and not %q", cmp.Or(text, `""`))
	}
	return now.Add(-ago), nil
}
