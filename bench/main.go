// Command bench measures Mandate side by side with what else could answer the same questions, in one run on one
// machine: the same facts, the same policies, the same requests, and the answers compared before anything is timed.
//
//	go run ./bench                # every suite
//	go run ./bench decisions      # some
//	go run ./bench -short         # small and quick, for CI
//	go run ./bench scale          # what takes minutes and many GB, and runs only when named
//	go run ./bench -peers cerbos=/path/to/cerbos,openfga=/path/to/openfga peers
//
// Contestants take turns in rounds, so that whatever else the machine does meets all of them, and ratios are made
// within a round. Results go to the terminal, and as JSON and as a plot to the folder -out.
//
// Each suite is one file and one line in suites; it says what is measured. The runner (run.go) has rounds, ratios and
// output in common for all. Servers are processes of their own (child.go), Mandate's is the real binary.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	os.Exit(run())
}

// run is the whole command; its result is the exit status.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends at once
	err := command(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func command(ctx context.Context, args []string) error {
	if len(args) > 0 {
		if serve, ok := roles()[args[0]]; ok {
			return playRole(ctx, serve, args[1:])
		}
	}
	o, err := parseOptions(args, os.Stderr)
	if err != nil {
		return err
	}
	return runSuites(ctx, o, os.Stdout, os.Stderr)
}

// suite measures one subject.
type suite struct {
	name  string
	about string
	run   func(ctx context.Context, b *bench) error
	named bool // runs only when it is named
}

func suites() []suite {
	return []suite{
		{name: "decisions", run: decisions,
			about: "one access decision at a time: over HTTP beside OPA's server and a bare handler, in process beside OPA's library"},
		{name: "different", run: different, about: "decisions of which no two are alike, over HTTP beside OPA's server"},
		{name: "jwt", run: jwt, about: "decisions for callers with access tokens, beside the same with an API key"},
		{name: "batch", run: batch, about: "100 decisions in one request, beside OPA's server asked for each"},
		{name: "writes", run: writes, about: "decisions while facts change, beside the same without"},
		{name: "replay", run: replaying, about: "a decision log decided again by another policy set, each decision at its own revision"},
		{name: "shadow", run: shadowing, about: "remembered decisions while a candidate decides beside the active policies, beside the same without"},
		{name: "tokens", run: tokens, about: "access tokens of clients over HTTP, beside signatures alone and npm oidc-provider"},
		{name: "passwords", run: passwords, about: "decisions and tokens while a thousand connections guess passwords, beside the same without"},
		{name: "noisy", run: noisy, about: "decisions of one vendor while another one asks for too many, with rate limits and without"},
		{name: "decisionlog", run: decisionLog, about: "remembered decisions with the decision log, crash-safe and durable, beside the same without"},
		{name: "scale", run: scale, named: true,
			about: "millions of members: start, memory and decisions, beside fewer members and OPA's server (only when named)"},
		{name: "import", run: importing, named: true,
			about: "a million members as JSON Lines: records per second and memory, beside a tenth of them (only when named)"},
		{name: "decisionfind", run: decisionfind, named: true,
			about: "queries over ten million records of the decision log, of decisions that repeat and of such that do not (only when named)"},
		{name: "peers", run: peers, named: true, about: "the same questions to Cerbos and OpenFGA (only when named, with -peers)"},
	}
}

// options are the command line.
type options struct {
	suites []suite

	Rounds      int           `json:"rounds"`
	Duration    time.Duration `json:"-"`
	Connections int           `json:"connections"`
	Requests    int           `json:"requests"`
	Orgs        int           `json:"orgs"`
	Members     int           `json:"members"`
	Seed        uint64        `json:"seed"`

	ScaleMembers  int `json:"scale_members"`
	ImportMembers int `json:"import_members"`
	LogRecords    int `json:"log_records"`

	peers        map[string]string // programs by name
	oidcProvider string            // folder with its node_modules
	out          string
}

func parseOptions(args []string, usage io.Writer) (options, error) {
	var o options
	var short bool
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.IntVar(&o.Rounds, "rounds", 5, "alternating rounds")
	flags.DurationVar(&o.Duration, "duration", 3*time.Second, "length of one measurement")
	flags.IntVar(&o.Connections, "connections", 16, "HTTP connections, each with one request at a time")
	flags.IntVar(&o.Requests, "requests", 10_000, "different requests, taken in turn")
	flags.IntVar(&o.Orgs, "orgs", 1000, "organizations")
	flags.IntVar(&o.Members, "members", 100, "members of each organization")
	flags.IntVar(&o.ScaleMembers, "scale-members", 5_000_000, "members of all organizations together in the suite scale")
	flags.IntVar(&o.ImportMembers, "import-members", 1_000_000, "members in the suite import, each with its user")
	flags.IntVar(&o.LogRecords, "log-records", 10_000_000, "records in the suite decisionfind")
	flags.Func("peers", "programs for the suite peers: cerbos=FILE,openfga=FILE", func(list string) (err error) {
		o.peers, err = peersNamed(list)
		return err
	})
	flags.StringVar(&o.oidcProvider, "oidc-provider", "interop", "folder with the node_modules of npm oidc-provider, for the suite tokens")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of facts and requests")
	flags.StringVar(&o.out, "out", "bench/out", "folder for results.json and results.svg")
	flags.BoolVar(&short, "short", false, "small and quick: -rounds 3 -duration 500ms -requests 1000 -orgs 100 -members 20 -scale-members 20000 -import-members 20000 -log-records 200000, where not given")
	flags.Usage = func() {
		_, _ = fmt.Fprint(usage, "Usage: go run ./bench [flags] [suite ...]\n\nSuites:\n")
		for _, s := range suites() {
			_, _ = fmt.Fprintf(usage, "  %-12s %s\n", s.name, s.about)
		}
		_, _ = fmt.Fprint(usage, "\nFlags:\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if short {
		o.shorten(flags)
	}
	var err error
	if o.suites, err = suitesNamed(flags.Args()); err != nil {
		return o, err
	}
	return o, o.check()
}

// shorten makes small what was not given.
func (o *options) shorten(flags *flag.FlagSet) {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, set := range map[string]func(){
		"rounds":   func() { o.Rounds = 3 },
		"duration": func() { o.Duration = 500 * time.Millisecond },
		"requests": func() { o.Requests = 1000 },
		"orgs":     func() { o.Orgs = 100 },
		"members":  func() { o.Members = 20 },

		"scale-members":  func() { o.ScaleMembers = 20_000 },
		"import-members": func() { o.ImportMembers = 20_000 },
		"log-records":    func() { o.LogRecords = 200_000 },
	} {
		if !given[name] {
			set()
		}
	}
}

func suitesNamed(names []string) ([]suite, error) {
	all := suites()
	if len(names) == 0 {
		return slices.DeleteFunc(all, func(s suite) bool { return s.named }), nil
	}
	var chosen []suite
	for _, name := range names {
		i := slices.IndexFunc(all, func(s suite) bool { return s.name == name })
		if i < 0 {
			var known []string
			for _, s := range all {
				known = append(known, s.name)
			}
			return nil, fmt.Errorf("there is no suite %q, but %s (flags go before suites)", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func (o *options) scaleOrgs() int { return o.ScaleMembers / o.Members }

// check keeps a run bounded in time and memory.
func (o *options) check() error {
	for _, n := range []struct {
		flag                    string
		value, minimum, maximum int
	}{
		{"rounds", o.Rounds, 1, 100},
		{"connections", o.Connections, 1, 1024},
		{"requests", o.Requests, 1, 200_000},
		{"orgs", o.Orgs, 2, 100_000},
		{"members", o.Members, 1, 10_000},
	} {
		if n.value < n.minimum || n.value > n.maximum {
			return fmt.Errorf("-%s must be between %d and %d", n.flag, n.minimum, n.maximum)
		}
	}
	if o.ImportMembers < 10 || o.ImportMembers > 10_000_000 {
		return fmt.Errorf("-import-members must be between 10 and 10,000,000")
	}
	if o.LogRecords < 1000 || o.LogRecords > 100_000_000 {
		return fmt.Errorf("-log-records must be between 1,000 and 100,000,000")
	}
	if o.Orgs*o.Members > 2_000_000 {
		return fmt.Errorf("-orgs times -members must be at most 2,000,000")
	}
	if orgs := o.scaleOrgs(); orgs < 2 || orgs > 100_000 || o.ScaleMembers > 10_000_000 {
		return fmt.Errorf("-scale-members must be at most 10,000,000, in 2 to 100,000 organizations of -members each")
	}
	if o.Duration < 10*time.Millisecond || o.Duration > time.Minute {
		return fmt.Errorf("-duration must be between 10ms and 1m")
	}
	return nil
}
