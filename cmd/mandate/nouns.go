package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// noun is a collection of the management API as a command. What can be done to it are its verbs.
type noun struct {
	name, short, long, example string
	aliases                    []string
	verbs                      []verb
}

// verb is an operation: a request, and how its answer is shown. One with columns is a listing.
type verb struct {
	name, short, long, example string
	method                     string // GET when empty
	// path is that of the route below /v1. What is in braces is filled in: capitals from the arguments, small letters from a
	// flag. An argument with a question mark is the last one, and can be left out.
	path    string
	id      argument // of a new record, which is a member of the body and not in the path
	other   other
	columns []column
	filters []filter
	fields  []field
	always  map[string]any // members that the body has, whatever the flags
	rows    string         // the member that has the rows, when it is no listing but has columns
	secrets []string       // members that are shown once, and therefore alone on standard output
	asks    string         // what is lost, for the operator to confirm it by typing the id
	said    string         // of a record that is no more
	edit    *edit
}

// other is the path that a verb has with a flag.
type other struct {
	flag, usage, path string
	columns           []column
}

// argument is the id of a new record. An optional one is made by the server when it is left out.
type argument struct {
	name, member string
	optional     bool
}

// filter narrows a listing, by a parameter of the query.
type filter struct{ flag, parameter, usage string }

// filters reads them from "status role=roles", with what they are about.
func filters(text string) []filter {
	var all []filter
	for name := range strings.FieldsSeq(text) {
		flag, parameter, _ := strings.Cut(name, "=")
		parameter = cmp.Or(parameter, strings.ReplaceAll(flag, "-", "_"))
		all = append(all, filter{flag, parameter, "only those with this " + strings.ReplaceAll(flag, "-", " ")})
	}
	return all
}

// addDirectoryCommands adds the commands for the daily operations, by the management API of a running server.
func addDirectoryCommands(root *cobra.Command, lookupEnv func(string) (string, bool)) {
	const directory = "directory"
	root.AddGroup(&cobra.Group{ID: directory, Title: "The directory of a running server:"})
	for _, n := range slices.Concat(organizationNouns(), credentialNouns(), vendorNouns()) {
		cmd := n.command(lookupEnv)
		cmd.GroupID = directory
		root.AddCommand(cmd)
	}
}

const aboutServer = `It asks a running server: --server, else $` + serverEnv + `, else ` + defaultServer + `. The credential is the value of
an Authorization header, from $` + authorizationEnv + ` or --authorization-file, such as "Bearer mdt_ak_…". The policy
mandate.manage decides what it may do: by the built-in policies it takes the scope manage.

Listings and records are for people. --json prints the documents as the server sent them, one a line (JSON Lines), and
--csv a listing for spreadsheets. A secret that was made is alone on standard output, so that KEY=$(mandate …) has it.`

func (n noun) command(lookupEnv func(string) (string, bool)) *cobra.Command {
	o := &operator{lookupEnv: lookupEnv}
	cmd := &cobra.Command{Use: n.name, Aliases: n.aliases, Short: n.short, Long: n.short + ".\n\n" + strings.TrimLeft(n.long+"\n\n", "\n") + aboutServer,
		Example: n.example, Args: noSuchVerb, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	o.addFlags(cmd.PersistentFlags())
	for _, v := range n.verbs {
		cmd.AddCommand(v.command(n, o))
		if v.name == "list" && len(v.arguments(v.path)) == 0 {
			v.prepare(cmd, n, o)
		}
	}
	return cmd
}

// examplesOf are those of the collection's examples that have the verb.
func (n noun) examplesOf(verb string) string {
	var lines []string
	for line := range strings.SplitSeq(n.example, "\n") {
		if strings.Contains(line, "mandate "+n.name+" "+verb+" ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// noSuchVerb says which ones there are.
func noSuchVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var verbs []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			verbs = append(verbs, c.Name())
		}
	}
	return fmt.Errorf("unknown command %q for %q, which has %s", args[0], cmd.CommandPath(), strings.Join(verbs, ", "))
}

func (v verb) command(n noun, o *operator) *cobra.Command {
	use := []string{v.name}
	for _, name := range v.arguments(v.path) {
		if bare, optional := strings.CutSuffix(name, "?"); optional {
			name = "[" + bare + "]"
		}
		use = append(use, name)
	}
	if v.edit != nil {
		use = append(use, v.edit.argument+"...")
	}
	cmd := &cobra.Command{Use: strings.Join(use, " "), Short: v.short, Long: strings.TrimSpace(v.short + ".\n\n" + v.long),
		Example: cmp.Or(v.example, n.examplesOf(v.name))}
	v.prepare(cmd, n, o)
	return cmd
}

// prepare gives a command what the verb needs.
func (v verb) prepare(cmd *cobra.Command, n noun, o *operator) {
	flags := cmd.Flags()
	for _, f := range v.fields {
		f.addTo(flags)
	}
	for _, f := range v.filters {
		flags.String(f.flag, "", f.usage)
	}
	if v.other.flag != "" {
		flags.String(v.other.flag, "", v.other.usage)
	}
	run := v.write
	switch {
	case v.columns != nil && v.rows == "":
		flags.Int("limit", defaultLimit, "how many to list, 0 for all")
		flags.Bool("csv", false, "print CSV, with formulas made harmless")
		run = v.list
	case v.method == "":
		run = v.show
	default:
		if len(v.fields) > 0 {
			flags.String("from", "", "file with a JSON object of members to begin with, - for standard input; flags go over them")
		}
		if v.method != http.MethodPost || v.id.name == "" {
			flags.Uint64("if-match", 0, "only if this is still the revision of the record")
			flags.Bool("confirm", false, "confirm a change that the server takes for an accident, such as removing the last admin")
		}
		if v.asks != "" {
			flags.Bool("yes", false, "do not ask")
		}
		if v.edit != nil {
			run = v.change
		}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at, err := v.place(cmd, args)
		if err != nil {
			return err
		}
		return run(o, cmd, at)
	}
	cmd.Args = cobra.ArbitraryArgs
	if cmd.Name() == n.name {
		cmd.Args = noSuchVerb
	}
}

// place is where a verb goes: the path that its arguments make, and the id of a new record.
type place struct {
	path, id string
	ids      []string
	rest     []string // arguments beyond those of the path
	columns  []column
}

// arguments are the names in a path that are filled in from arguments, and that of a new record.
func (v verb) arguments(path string) []string {
	var names []string
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok && strings.ToUpper(name) == name {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	if v.id.name != "" {
		name := v.id.name
		if v.id.optional {
			name += "?"
		}
		names = append(names, name)
	}
	return names
}

func (v verb) place(cmd *cobra.Command, args []string) (place, error) {
	at := place{columns: v.columns}
	path, flagged := v.path, ""
	if v.other.flag != "" && cmd.Flags().Changed(v.other.flag) {
		flagged, _ = cmd.Flags().GetString(v.other.flag)
		path = v.other.path
		if v.other.columns != nil {
			at.columns = v.other.columns
		}
	}
	names := v.arguments(path)
	for i, name := range names {
		if _, optional := strings.CutSuffix(name, "?"); i >= len(args) && !optional {
			usage := cmd.UseLine()
			if v.other.flag != "" && path == v.path {
				usage += ", or --" + v.other.flag
			}
			return at, fmt.Errorf("%s is missing: %s", name, usage)
		}
	}
	if v.edit != nil && len(args) > len(names) {
		at.rest, args = args[len(names):], args[:len(names)]
	}
	if len(args) > len(names) {
		return at, fmt.Errorf("unknown argument %q: %s", args[len(names)], cmd.UseLine())
	}
	for i, id := range args {
		if err := usable(strings.TrimSuffix(names[i], "?"), id); err != nil {
			return at, err
		}
	}
	at.ids = args
	if v.id.name != "" && len(args) == len(names) {
		at.id, args = args[len(args)-1], args[:len(args)-1]
	}
	var err error
	at.path, err = fill(path, args, v.other.flag, flagged)
	return at, err
}

// fill is the path with the arguments, and the flag's value, in place of the names.
func fill(path string, args []string, flag, value string) (string, error) {
	segments := []string{"/v1"}
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case !strings.HasPrefix(segment, "{"):
		case strings.ToUpper(segment) != segment:
			if err := usable("--"+flag, value); err != nil {
				return "", err
			}
			segment = url.PathEscape(value)
		case len(args) == 0:
			continue // it can be left out
		default:
			segment, args = url.PathEscape(args[0]), args[1:]
		}
		segments = append(segments, segment)
	}
	return strings.Join(segments, "/"), nil
}

// usable refuses what would make a path of something else.
func usable(name, id string) error {
	if id == "" || id == "." || id == ".." || id != printable(id) {
		return fmt.Errorf("%s must be an id, and not %q", name, id)
	}
	return nil
}
