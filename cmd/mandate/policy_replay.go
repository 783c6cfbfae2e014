package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"mandate/datastore"
	"mandate/decisionlog"
	"mandate/directory"
	"mandate/engine"
	"mandate/manage"
	"mandate/policyset"
	"mandate/replay"
	"mandate/server"
)

const (
	statusChanged = exitStatus(3)
	replayPoll    = 250 * time.Millisecond
	cancelLimit   = 5 * time.Second
)

// replayCommand is policy replay.
type replayCommand struct {
	operator
	request server.ReplayRequest
	sample  string
	log     string
	allow   string
}

func policyReplayCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	q := replayCommand{operator: operator{lookupEnv: lookupEnv}}
	cmd := &cobra.Command{
		Use:   "replay NEW",
		Short: "Decide again what was decided, by another policy set, and show what turns",
		Long: `Decide every logged request again by the policy set NEW, each at its own revision of the facts and its own instant, and show
which turn from allow to deny and the reverse, and which differ otherwise, grouped by rule, organization, subject and action.

NEW is a folder, a bundle file, or a stored policy set. A folder or a file is stored at the server first. It decides nothing.

It asks a running server, or works on the data folder of a stopped one with --data, where --log can name a copy of its decision
log: a folder or a segment. The facts of a decision are there for as long as the history is kept (setting history).

--allow-change names a file with the changes that are expected:

  changes:
    - {turns: deny, rule: granted_by_role, org: acme, action: "documents:*"}
    - {turns: allow, subject: "user:bob"}

What is left out is any; * stands for any characters. turns is allow, deny or different.

The exit status is 0 when nothing turns but what is expected, 3 when something else does, 1 when there was no replay.`,
		Example: `  mandate policy replay ./policies --since 24h
  mandate policy replay 3f9a1c2 --org acme --sample 10%
  mandate policy replay ./policies --since 168h --allow-change expected.yaml --json
  mandate policy replay ./policies --data ./data`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return q.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	q.addFlags(flags)
	addSettings(cmd)
	flags.StringVar(&q.request.Since, "since", "24h", "from this time on (RFC 3339), or for how long back")
	flags.StringVar(&q.request.Until, "until", "", "until this time, or how long ago (default: now)")
	flags.StringVar(&q.request.Org, "org", "", "only what is of this organization")
	flags.StringVar(&q.request.Subject, "subject", "", "only what is about this subject, as type:id")
	flags.StringVar(&q.request.Point, "point", "", "only this decision: mandate/access, mandate/tokens, mandate/manage")
	flags.StringVar(&q.sample, "sample", "100%", "this share of the decisions, the same ones each time")
	flags.Uint64Var(&q.request.Limit, "limit", 0, "at most so many, the oldest (0: all)")
	flags.IntVar(&q.request.Workers, "workers", 0, "how many processors to use (default: half of the server's; with --data all)")
	flags.StringVar(&q.log, "log", "", "with --data: folder or segment of a decision log (default: that of the data folder)")
	flags.StringVar(&q.allow, "allow-change", "", "file of the changes that are expected (YAML)")
	return cmd
}

func (q *replayCommand) run(cmd *cobra.Command, name string) error {
	expected, err := readExpected(q.allow)
	if err != nil {
		return err
	}
	share, err := parseShare(q.sample)
	if err != nil {
		return err
	}
	q.request.Sample = &share
	offline := cmd.Flags().Changed("data")
	if !offline && q.log != "" {
		return errors.New("--log goes with --data, the folder with the facts that the log refers to")
	}
	replayed := q.online
	if offline {
		replayed = q.offline
	}
	m := newMeter(cmd.ErrOrStderr())
	r, err := replayed(cmd, name, m)
	m.clear()
	if err != nil {
		return err
	}
	outcome := outcomeOf(r, expected)
	if q.json {
		err = writeDocument(cmd.OutOrStdout(), outcome)
	} else {
		err = outcome.print(cmd.OutOrStdout())
	}
	if err == nil && len(outcome.Unexpected) > 0 {
		err = statusChanged
	}
	return err
}

// parseShare reads 10% or 0.1.
func parseShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || share <= 0 || share > 1 {
		return 0, fmt.Errorf("--sample %q must be a share such as 10%%", text)
	}
	return share, nil
}

// online has the server replay, and waits for its end.
func (q *replayCommand) online(cmd *cobra.Command, name string, m *meter) (*server.Replay, error) {
	set, err := q.stored(cmd, name)
	if err != nil {
		return nil, err
	}
	path, err := policyPath(set, "/replays")
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(q.request)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	answer, err := q.ask(cmd, call{method: http.MethodPost, path: path, body: body, list: "mandate policy list"})
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(replayPoll)
	defer tick.Stop()
	for {
		r := &server.Replay{}
		if err := json.Unmarshal(answer, r); err != nil {
			return nil, fmt.Errorf("the server's answer is not a replay: %w", err)
		}
		switch r.Status {
		case "running":
			m.show(progressOf(r, r.Done, r.Since.Add(time.Duration(r.Percent/100*float64(r.Until.Sub(r.Since))))))
		case "done":
			return r, nil
		default:
			return nil, fmt.Errorf("the replay has ended as %s: the log of the server may say why", r.Status)
		}
		select {
		case <-tick.C:
		case <-cmd.Context().Done():
			q.cancel(cmd)
			return nil, cmd.Context().Err()
		}
		if answer, err = q.ask(cmd, call{method: http.MethodGet, path: "/v1/policies/replay"}); err != nil {
			return nil, err
		}
	}
}

// cancel ends what nobody waits for any more.
func (q *replayCommand) cancel(cmd *cobra.Command) {
	interrupted := cmd.Context()
	ctx, stop := context.WithTimeout(context.WithoutCancel(interrupted), cancelLimit)
	defer stop()
	cmd.SetContext(ctx)
	defer cmd.SetContext(interrupted)
	if _, err := q.ask(cmd, call{method: http.MethodDelete, path: "/v1/policies/replay"}); err != nil {
		say(cmd.ErrOrStderr(), "The replay goes on at the server: %v\n", err)
	}
}

// stored is the name of a set at the server. What is a folder or a file here is stored there first.
func (q *replayCommand) stored(cmd *cobra.Command, name string) (string, error) {
	if _, err := os.Stat(name); err != nil {
		return name, nil //nolint:nilerr // then it is the name of a set
	}
	files, err := policyFiles(name)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(manage.PolicyFiles{Files: files, Note: "for a replay"})
	if err != nil {
		return "", fmt.Errorf("encode the request: %w", err)
	}
	answer, err := q.ask(cmd, call{method: http.MethodPost, path: "/v1/policies", body: body})
	if err != nil {
		return "", refusedSet(cmd, err)
	}
	var pushed struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(answer, &pushed); err != nil {
		return "", fmt.Errorf("the server's answer is not a policy set: %w", err)
	}
	return url.PathEscape(pushed.ID), nil
}

func progressOf(r *server.Replay, done uint64, at time.Time) amount {
	return amount{records: int(done), done: int64(at.Sub(r.Since)), total: int64(r.Until.Sub(r.Since))}
}

// offline replays on the data folder of a server that is stopped.
func (q *replayCommand) offline(cmd *cobra.Command, name string, m *meter) (r *server.Replay, err error) {
	c, err := loadConfig(cmd, q.lookupEnv)
	if err != nil {
		return nil, err
	}
	if err := q.at.checkTenant(); err != nil {
		return nil, err
	}
	store, _, err := openExisting(cmd.Context(), c, logger(cmd, c))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	decides := engine.New(datastore.TenantID(q.at.tenant), nil, engine.Options{EvaluationLimit: c.Limits.Evaluation})
	candidate, err := q.candidate(cmd, store, decides, name)
	if err != nil {
		return nil, err
	}
	r = &server.Replay{Set: candidate.Revision(), Status: "done", Until: time.Now().UTC()}
	if r.Since, err = instantOf("--since", q.request.Since, r.Until); err != nil {
		return nil, err
	}
	if q.request.Until != "" {
		if r.Until, err = instantOf("--until", q.request.Until, r.Until); err != nil {
			return nil, err
		}
	}
	folder, remove, err := q.logFolder(c)
	if err != nil {
		return nil, err
	}
	defer remove()
	query := decisionlog.Query{Kind: decisionlog.Decision, Point: q.request.Point, Org: q.request.Org, Subject: q.request.Subject,
		From: decisionlog.IDAt(r.Since), Until: decisionlog.IDAt(r.Until), OldestFirst: true}
	records := replay.Sample(decisionlog.Find(cmd.Context(), folder, query), *q.request.Sample)
	if q.request.Limit > 0 {
		records = replay.First(records, q.request.Limit)
	}
	r.Report, err = replay.Run(cmd.Context(), replay.Options{Store: store, Engine: decides, Candidate: candidate,
		Workers: q.request.Workers, Records: records, Progress: func(done uint64, last decisionlog.ID) { m.show(progressOf(r, done, last.Time())) }})
	return r, err
}

// candidate is the set in a folder or file, or one that is stored.
func (q *replayCommand) candidate(cmd *cobra.Command, store datastore.Store, decides *engine.Engine, name string) (*engine.PolicySet, error) {
	if _, err := os.Stat(name); err == nil {
		return admitted(cmd, name)
	}
	library := policyset.New(policyset.Options{Tenant: directory.Tenant(q.at.tenant), Store: store, Engine: decides, Now: time.Now})
	view, err := store.View(cmd.Context())
	if err != nil {
		return nil, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	set, err := library.Compiled(cmd.Context(), view, name)
	if errors.Is(err, policyset.ErrUnknown) {
		return nil, fmt.Errorf("%s is neither a folder, nor a file, nor the whole revision of a policy set in the data folder", name)
	}
	return set, err
}

// logFolder is the folder with the log. A segment by itself gets one.
func (q *replayCommand) logFolder(c *config) (folder string, remove func(), err error) {
	remove = func() {}
	if q.log == "" {
		return filepath.Join(c.Data, "decisions", q.at.tenant), remove, nil
	}
	info, err := os.Stat(q.log)
	if err != nil {
		return "", nil, fmt.Errorf("read the decision log: %w", err)
	}
	if info.IsDir() {
		return q.log, remove, nil
	}
	segment, err := filepath.Abs(q.log)
	if err != nil {
		return "", nil, fmt.Errorf("read the decision log: %w", err)
	}
	if folder, err = os.MkdirTemp("", "mandate-replay-"); err != nil {
		return "", nil, fmt.Errorf("make a folder for the segment: %w", err)
	}
	remove = func() { _ = os.RemoveAll(folder) } // a link in the folder for temporary files
	if err := os.Symlink(segment, filepath.Join(folder, filepath.Base(segment))); err != nil {
		remove()
		return "", nil, fmt.Errorf("read the decision log: %w", err)
	}
	return folder, remove, nil
}

// instantOf is a time, or how long before now.
func instantOf(flag, text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%s %q must be a time (RFC 3339), or for how long back, such as 90m", flag, text)
	}
	return at.UTC(), nil
}
