package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"mandate/decisionlog"
	"mandate/engine"
	"mandate/manage"
	"mandate/policyset"
)

// policiesRuleConfig is who may activate the policy sets of a tenant.
type policiesRuleConfig struct {
	TwoPerson bool          `yaml:"two_person,omitempty"`
	Replay    time.Duration `yaml:"replay,omitempty"` // from how long ago on, before an activation; 24h when left out
}

func (c *policiesRuleConfig) complete() (problem string) {
	const day = 24 * time.Hour
	switch {
	case c.Replay != 0 && !c.TwoPerson:
		return "replay is of the rule two_person: true"
	case c.Replay < 0 || c.Replay > 365*day:
		return "replay must be between 0s and 8760h"
	}
	return ""
}

// reading is the rule, with the decision log in that folder.
func (c policiesRuleConfig) reading(folder string) manage.PolicyRule {
	rule := manage.PolicyRule{TwoPerson: c.TwoPerson, Since: c.Replay,
		Decisions: func(ctx context.Context, q decisionlog.Query) iter.Seq2[decisionlog.Record, error] {
			return decisionlog.Find(ctx, folder, q)
		}}
	if rule.Since == 0 {
		rule.Since = 24 * time.Hour
	}
	return rule
}

// policySetCommands are those for the stored policy sets of a running server.
func policySetCommands(lookupEnv func(string) (string, bool)) []*cobra.Command {
	const sets = "ID=id STATUS=status PUSHED=pushed_at BY=pushed_by SOURCE=source NOTE=note"
	var made []*cobra.Command
	for _, v := range []verb{
		{name: "list", path: "policies", short: "List the stored policy sets, the newest first", columns: columns(sets), example: "  mandate policy list"},
		{name: "log", path: "policies/activations", short: "List what was active, the last activation first", columns: columns("NUMBER=number AT=at HOW=how SET=set FORMER=former BY=by NOTE=note"),
			long: "The number of an activation is what mandate policy rollback --to takes.", example: "  mandate policy log --limit 10"},
	} {
		o := &operator{lookupEnv: lookupEnv}
		cmd := v.command(noun{name: "policy"}, o)
		o.addFlags(cmd.Flags())
		made = append(made, cmd)
	}
	return append(made, pushCommand(lookupEnv), showPolicyCommand(lookupEnv), diffCommand(lookupEnv), activateCommand(lookupEnv), acknowledgeCommand(lookupEnv), rollbackCommand(lookupEnv))
}

// policySetCommand gives a command what it takes to ask a server.
func policySetCommand(lookupEnv func(string) (string, bool), cmd *cobra.Command, run func(o *operator, cmd *cobra.Command, args []string) error) *cobra.Command {
	o := &operator{lookupEnv: lookupEnv}
	o.addFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return run(o, cmd, args) }
	return cmd
}

const aboutSets = `A stored set is named by its revision, by seven or more characters that only its revision begins with, or by what it is:
active, former, shadow, source.`

func policyPath(set, below string) (string, error) {
	if err := usable("REV", set); err != nil {
		return "", err
	}
	return "/v1/policies/" + url.PathEscape(set) + below, nil
}

// policyFiles are the files of a folder, or of a bundle.
func policyFiles(place string) ([]engine.File, error) {
	info, err := os.Stat(place)
	if err != nil {
		return nil, fmt.Errorf("read the policy set: %w", err)
	}
	if info.IsDir() {
		return engine.Load(os.DirFS(place))
	}
	raw, err := readBundleFile(place)
	if err != nil {
		return nil, err
	}
	files, err := policyset.ReadBundle(raw, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	return files, nil
}

func readBundleFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the policy set: %w", err)
	}
	defer func() { _ = file.Close() }()
	raw, err := io.ReadAll(io.LimitReader(file, policyset.MaxBundle+1))
	if err != nil {
		return nil, fmt.Errorf("read the policy set: %w", err)
	}
	return raw, nil
}

func pushCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var note string
	var activate bool
	cmd := policySetCommand(lookupEnv, &cobra.Command{
		Use: "push DIR|BUNDLE", Short: "Store a policy set at a server",
		Long: `Store a policy set: the .rego and data files of a folder, or of a bundle that mandate policy build or opa build wrote.

It is admitted only if it compiles in strict mode, its tests pass, and it defines the three entry points; else all problems are
printed as file:line: message, nothing is stored and the exit status is 1. A stored set decides nothing until it is activated.`,
		Example: `  mandate policy push ./policies --note "Ticket 4711: editors may archive"
  mandate policy push bundle.tar.gz --activate`,
		Args: cobra.ExactArgs(1),
	}, func(o *operator, cmd *cobra.Command, args []string) error {
		q, err := pushCall(args[0], note)
		if err != nil {
			return err
		}
		answer, err := o.ask(cmd, q)
		if err != nil {
			return refusedSet(cmd, err)
		}
		if !activate {
			return o.print(cmd, answer)
		}
		var stored struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(answer, &stored); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		return o.changePolicies(cmd, stored.ID, "/activate", map[string]any{"note": note})
	})
	cmd.Flags().StringVar(&note, "note", "", "what the set is for, for the list")
	cmd.Flags().BoolVar(&activate, "activate", false, "make it decide at once")
	return cmd
}

// pushCall sends a folder's files as JSON, and a bundle as it is.
func pushCall(place, note string) (call, error) {
	q := call{method: http.MethodPost, path: "/v1/policies", key: rand.Text(),
		larger: "have the server take larger bodies (limits.body), or push the bundle that mandate policy build makes, which is smaller"}
	info, err := os.Stat(place)
	if err != nil {
		return q, fmt.Errorf("read the policy set: %w", err)
	}
	if !info.IsDir() {
		q.body, err = readBundleFile(place)
		q.path, q.media = q.path+"?"+url.Values{"note": {note}}.Encode(), "application/gzip"
		return q, err
	}
	files, err := engine.Load(os.DirFS(place))
	if err != nil {
		return q, err
	}
	if q.body, err = json.Marshal(manage.PolicyFiles{Files: files, Note: note}); err != nil {
		return q, fmt.Errorf("encode the request: %w", err)
	}
	return q, nil
}

// refusedSet prints what is wrong with a set, as a compiler does.
func refusedSet(cmd *cobra.Command, err error) error {
	var refused *serverError
	if !errors.As(err, &refused) || refused.Code != "policies_refused" {
		return err
	}
	for _, problem := range refused.Errors {
		line := printable(problem.Message)
		if problem.Field != "" {
			line = printable(problem.Field) + ": " + line
		}
		say(cmd.ErrOrStderr(), "%s\n", line)
	}
	return errors.New("the policy set is not admitted, so nothing is changed")
}

func showPolicyCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	return policySetCommand(lookupEnv, &cobra.Command{
		Use: "show REV [FILE]", Short: "Show a stored policy set, or one of its files", Long: "Show a stored policy set, or one of its files.\n\n" + aboutSets,
		Example: "  mandate policy show active\n  mandate policy show 3f9a1c2 access/access.rego",
		Args:    cobra.RangeArgs(1, 2),
	}, func(o *operator, cmd *cobra.Command, args []string) error {
		if len(args) == 2 {
			return o.showFile(cmd, args[0], args[1])
		}
		path, err := policyPath(args[0], "")
		if err != nil {
			return err
		}
		document, err := o.ask(cmd, call{method: http.MethodGet, path: path, list: "mandate policy list"})
		if err != nil || o.json {
			return errors.Join(err, o.printIf(cmd, document))
		}
		return printPolicySet(cmd.OutOrStdout(), document)
	})
}

// printIf prints a document if there is one.
func (o *operator) printIf(cmd *cobra.Command, document jsontext.Value) error {
	if document == nil {
		return nil
	}
	return o.print(cmd, document)
}

func (o *operator) showFile(cmd *cobra.Command, set, name string) error {
	files, err := o.storedFiles(cmd, set)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(files, func(f engine.File) bool { return f.Name == name })
	if at < 0 {
		return fmt.Errorf("the policy set has no file %s: see mandate policy show %s", printable(name), printable(set))
	}
	if o.json {
		text, err := json.Marshal(files[at])
		if err != nil {
			return fmt.Errorf("print the file: %w", err)
		}
		return o.print(cmd, text)
	}
	return output(cmd.OutOrStdout(), "%s", printableText(files[at].Text))
}

func (o *operator) storedFiles(cmd *cobra.Command, set string) ([]engine.File, error) {
	path, err := policyPath(set, "/files")
	if err != nil {
		return nil, err
	}
	answer, err := o.ask(cmd, call{method: http.MethodGet, path: path, list: "mandate policy list"})
	if err != nil {
		return nil, err
	}
	var stored struct {
		Files []engine.File `json:"files"`
	}
	if err := json.Unmarshal(answer, &stored); err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return stored.Files, nil
}

// printPolicySet prints a set for people: its members, then its files, then its activations.
func printPolicySet(out io.Writer, document jsontext.Value) error {
	var set manage.PolicySet
	if err := json.Unmarshal(document, &set); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	rest, err := without(document, []string{"files", "activations", "revision"})
	if err != nil {
		return err
	}
	if err := printRecord(out, rest); err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say(table, "\nBYTES\tFILE\n")
	for _, f := range set.Files {
		say(table, "%d\t%s\n", f.Bytes, printable(f.Name))
	}
	if len(set.Activations) > 0 {
		say(table, "\nACTIVATION\tAT\tHOW\tBY\tNOTE\n")
	}
	for _, a := range set.Activations {
		say(table, "%d\t%s\t%s\t%s\t%s\n", a.Number, a.At.UTC().Format(time.RFC3339), printable(a.How), dash(a.By), dash(a.Note))
	}
	return flush(table)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return printable(text)
}

// changePolicies makes a change, and prints the set as it is then.
func (o *operator) changePolicies(cmd *cobra.Command, set, below string, body map[string]any) error {
	path, err := policyPath(set, below)
	if err != nil {
		return err
	}
	text, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	answer, err := o.ask(cmd, call{method: http.MethodPost, path: path, body: text, key: rand.Text(), list: "mandate policy list"})
	if err != nil {
		return o.unacknowledged(cmd, set, err)
	}
	return o.print(cmd, answer)
}

// unacknowledged prints what another person must acknowledge before a set can be activated.
func (o *operator) unacknowledged(cmd *cobra.Command, set string, err error) error {
	var refused *serverError
	if !errors.As(err, &refused) || refused.Code != "not_acknowledged" {
		return err
	}
	if printing := printTurns(cmd.ErrOrStderr(), refused.Groups); printing != nil {
		return printing
	}
	return fmt.Errorf("%w\nsee mandate policy acknowledge %s", err, printable(set))
}

func printTurns(out io.Writer, groups []manage.PolicyTurn) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say(table, "GROUP\tREQUESTS\tORG\tSUBJECT\tACTION\tRULE\tACKNOWLEDGED\tEXAMPLE\n")
	for _, g := range groups {
		say(table, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", dash(g.ID), g.Count, dash(g.Org), dash(g.Subject), dash(g.Action), dash(cmp.Or(g.Unknown, g.Rule)), dash(g.AcknowledgedBy),
			dash(strings.TrimSpace(g.Example.Resource+" "+g.Example.ID)))
	}
	return flush(table)
}

func activateCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var note string
	var shadow, end bool
	cmd := policySetCommand(lookupEnv, &cobra.Command{
		Use: "activate REV", Short: "Make a stored policy set decide",
		Long: `Make a stored policy set decide. When the command has ended, every decision is by this set.

With --shadow it decides beside the active one and is not answered: mandate policy shadow shows what differs. --shadow --end
ends that.

Where the configuration has the rule two_person, who pushed a set cannot activate it, and every group of logged requests that it
would turn from deny to allow must be acknowledged by another person than who pushed it: the groups are printed, and the exit
status is 1, until then. What the replay cannot tell is such a group too: requests that it had to skip (masked in the log, older
than the history, beyond its bounds), those beyond the first 500 groups, and that the set uses the present time.

Nobody has pushed a set that a source of the configuration gave: whoever activates it must be another person than those who have
acknowledged a group. Credentials that one has made for the other are one person.

` + aboutSets,
		Example: `  mandate policy activate 3f9a1c2 --note "Ticket 4711"
  mandate policy activate 3f9a1c2 --shadow
  mandate policy activate --shadow --end`,
		Args: cobra.MaximumNArgs(1),
	}, func(o *operator, cmd *cobra.Command, args []string) error {
		switch {
		case end && (!shadow || len(args) > 0):
			return errors.New("--end is for --shadow, and without REV")
		case end:
			answer, err := o.ask(cmd, call{method: http.MethodDelete, path: "/v1/policies/shadow", key: rand.Text()})
			if err != nil {
				return err
			}
			return o.print(cmd, answer)
		case len(args) == 0:
			return fmt.Errorf("REV is missing: %s", cmd.UseLine())
		case shadow:
			return o.changePolicies(cmd, args[0], "/shadow", map[string]any{"note": note})
		}
		return o.changePolicies(cmd, args[0], "/activate", map[string]any{"note": note})
	})
	cmd.Flags().StringVar(&note, "note", "", "why, for the log of activations")
	cmd.Flags().BoolVar(&shadow, "shadow", false, "decide beside the active set without being answered")
	cmd.Flags().BoolVar(&end, "end", false, "with --shadow: end it")
	return cmd
}

func acknowledgeCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var note string
	var all bool
	cmd := policySetCommand(lookupEnv, &cobra.Command{
		Use: "acknowledge REV [GROUP...]", Short: "Agree to what a policy set would turn from deny to allow",
		Long: `Agree to groups of requests that a policy set would turn from deny to allow, as another person than who pushed it.

Without GROUP the groups are listed, as the replay before the last activation found them. With --all they are all acknowledged.
It holds for these groups only: what a later replay finds beside them has to be acknowledged as well.

` + aboutSets,
		Example: `  mandate policy acknowledge 3f9a1c2
  mandate policy acknowledge 3f9a1c2 0f3b6f5e1c0a4d7e9b2a8c6d5e4f3a2b --note "the press kit is public"
  mandate policy acknowledge 3f9a1c2 --all`,
		Args: cobra.MinimumNArgs(1),
	}, func(o *operator, cmd *cobra.Command, args []string) error {
		set, groups := args[0], args[1:]
		path, err := policyPath(set, "/review")
		if err != nil {
			return err
		}
		var answer jsontext.Value
		var review manage.PolicyReview
		if len(groups) == 0 {
			if answer, err = o.ask(cmd, call{method: http.MethodGet, path: path, list: "mandate policy list"}); err != nil {
				return err
			}
			if err := json.Unmarshal(answer, &review, json.RejectUnknownMembers(false)); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
		}
		if all {
			for _, g := range review.Groups {
				groups = append(groups, g.ID)
			}
		}
		if len(groups) > 0 {
			path, _ = policyPath(set, "/acknowledge")
			text, err := json.Marshal(manage.PolicyAcknowledging{Groups: groups, Note: note})
			if err != nil {
				return fmt.Errorf("encode the request: %w", err)
			}
			if answer, err = o.ask(cmd, call{method: http.MethodPost, path: path, body: text, key: rand.Text()}); err != nil {
				return err
			}
			if err := json.Unmarshal(answer, &review); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
		}
		if o.json {
			return o.print(cmd, answer)
		}
		return printTurns(cmd.OutOrStdout(), review.Groups)
	})
	cmd.Flags().StringVar(&note, "note", "", "why")
	cmd.Flags().BoolVar(&all, "all", false, "all groups of the review")
	return cmd
}

func rollbackCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var note string
	var to uint64
	cmd := policySetCommand(lookupEnv, &cobra.Command{
		Use: "rollback", Short: "Go back to the policy set that was active before",
		Long: `Go back to the policy set that was active before the active one, at once: it is kept ready to decide. Repeated, it goes further
back, and never to what was taken back.

It is for emergencies, so one person may do it also where activating a set takes two.`,
		Example: `  mandate policy rollback --note "editors cannot archive any more"
  mandate policy rollback --to 12`,
		Args: cobra.NoArgs,
	}, func(o *operator, cmd *cobra.Command, _ []string) error {
		body := map[string]any{"note": note}
		if to > 0 {
			body["to"] = to
		}
		text, err := json.Marshal(body, json.Deterministic(true))
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		answer, err := o.ask(cmd, call{method: http.MethodPost, path: "/v1/policies/rollback", body: text, key: rand.Text()})
		if err != nil {
			return err
		}
		return o.print(cmd, answer)
	})
	cmd.Flags().StringVar(&note, "note", "", "why, for the log of activations")
	cmd.Flags().Uint64Var(&to, "to", 0, "number of an activation, from mandate policy log")
	return cmd
}
