package main

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// operator is who uses the command line: at which server, and how answers are to be shown.
type operator struct {
	lookupEnv func(string) (string, bool)
	at        remote
	json      bool
}

func (o *operator) addFlags(flags *pflag.FlagSet) {
	o.at.addServerFlags(flags, "URL of the server (default: $"+serverEnv+", else "+defaultServer+")")
	flags.Bool("allow-plaintext", false, "send the credential to other than loopback addresses without TLS")
	flags.BoolVar(&o.json, "json", false, "print the documents as JSON Lines")
}

func (o *operator) ask(cmd *cobra.Command, q call) (jsontext.Value, error) {
	at := o.at
	env, _ := o.lookupEnv(serverEnv)
	at.server = cmp.Or(at.server, env, defaultServer)
	text, err := at.call(cmd, o.lookupEnv, q)
	if err != nil {
		return nil, err
	}
	if value := jsontext.Value(text); !value.IsValid() || value.Kind() != '{' {
		return nil, fmt.Errorf("what answers at %s is no Mandate server: the answer is not a JSON object", at.server)
	}
	return text, nil
}

// Bounds of a listing: of each page, and of what is listed when the operator does not say.
const (
	pageSize     = 500
	defaultLimit = 1000
)

// list follows the pages of a listing.
func (v verb) list(o *operator, cmd *cobra.Command, at place) error {
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 0 {
		return errors.New("--limit must be 0, for all, or more")
	}
	query := url.Values{}
	for _, f := range v.filters {
		if cmd.Flags().Changed(f.flag) {
			value, _ := cmd.Flags().GetString(f.flag)
			query.Set(f.parameter, value)
		}
	}
	out, err := o.printer(cmd, at.columns)
	if err != nil {
		return err
	}
	for printed := 0; ; {
		query.Set("limit", strconv.Itoa(pageSize))
		if limit > 0 {
			query.Set("limit", strconv.Itoa(min(pageSize, limit-printed)))
		}
		answer, err := o.ask(cmd, call{method: http.MethodGet, path: at.path + "?" + query.Encode()})
		if err != nil {
			if printed > 0 {
				err = errors.Join(out.end(), err)
			}
			return err
		}
		var listing struct {
			Items []jsontext.Value `json:"items"`
			Next  string           `json:"next_cursor"`
		}
		if err := json.Unmarshal(answer, &listing); err != nil {
			return fmt.Errorf("the server's answer is not a listing: %w", err)
		}
		for _, item := range listing.Items {
			if err := out.print(item); err != nil {
				return err
			}
		}
		printed += len(listing.Items)
		if listing.Next == "" {
			return out.end()
		}
		if listing.Next == query.Get("cursor") {
			return errors.Join(out.end(), errors.New("the server has answered with the same page again"))
		}
		if limit > 0 && printed >= limit {
			err := out.end()
			say(cmd.ErrOrStderr(), "There are more than these %d: list more with --limit %d, or all with --limit 0.\n", printed, 10*limit)
			return err
		}
		query.Set("cursor", listing.Next)
	}
}

func (o *operator) printer(cmd *cobra.Command, all []column) (printer, error) {
	asCSV, _ := cmd.Flags().GetBool("csv")
	switch {
	case o.json && asCSV:
		return nil, errors.New("--json and --csv exclude each other")
	case o.json:
		return jsonPrinter{cmd.OutOrStdout()}, nil
	case asCSV:
		return newCSVPrinter(cmd.OutOrStdout(), all)
	}
	return newTablePrinter(cmd.OutOrStdout(), all), nil
}

// show prints a record.
func (v verb) show(o *operator, cmd *cobra.Command, at place) error {
	document, err := o.ask(cmd, call{method: http.MethodGet, path: at.path, list: v.siblings(cmd, at)})
	if err != nil {
		return err
	}
	return o.print(cmd, document)
}

// siblings is the command that lists what there is beside a record.
func (v verb) siblings(cmd *cobra.Command, at place) string {
	parent := cmd.Parent()
	if cmd.Name() == "list" || parent == nil {
		return ""
	}
	for _, c := range parent.Commands() {
		if c.Name() == "list" {
			names := strings.Fields(c.Use)[1:]
			return strings.Join(append([]string{c.CommandPath()}, at.ids[:min(len(names), len(at.ids))]...), " ")
		}
	}
	return ""
}

// print writes a record, for people or as JSON.
func (o *operator) print(cmd *cobra.Command, document jsontext.Value) error {
	if o.json {
		return jsonPrinter{cmd.OutOrStdout()}.print(document)
	}
	return printRecord(cmd.OutOrStdout(), document)
}

// write makes a change, and prints what the record is after it.
func (v verb) write(o *operator, cmd *cobra.Command, at place) error {
	body, err := v.body(cmd, at)
	if err != nil {
		return err
	}
	if err := v.confirm(cmd, at); err != nil {
		return err
	}
	answer, err := o.ask(cmd, v.request(cmd, at, body))
	if err != nil {
		return err
	}
	return v.told(o, cmd, at, answer)
}

func (v verb) request(cmd *cobra.Command, at place, body []byte) call {
	q := call{method: v.method, path: at.path, body: body, key: rand.Text(), list: v.siblings(cmd, at)}
	if cmd.Flags().Lookup("if-match") != nil {
		q.ifMatch, _ = cmd.Flags().GetUint64("if-match")
		q.confirmed, _ = cmd.Flags().GetBool("confirm")
		if parent := cmd.Parent(); parent != nil {
			q.show = strings.Join(append([]string{parent.CommandPath(), "show"}, at.ids...), " ")
		}
	}
	return q
}

// confirm has the operator type the id of what is to be lost. A verb for one or all asks about all only.
func (v verb) confirm(cmd *cobra.Command, at place) error {
	oneOrAll := strings.HasSuffix(v.path, "?}")
	if yes, _ := cmd.Flags().GetBool("yes"); v.asks == "" || yes || (oneOrAll && len(at.ids) == len(v.arguments(v.path))) {
		return nil
	}
	id := at.ids[len(at.ids)-1]
	lost := fmt.Sprintf("%s will go, with %s, for good", printable(id), v.asks)
	if oneOrAll {
		lost = fmt.Sprintf("%s of %s will end", v.asks, printable(id))
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if ok {
		info, err := in.Stat()
		ok = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if !ok {
		return fmt.Errorf("%s, and there is no terminal to confirm it at: repeat with --yes", lost)
	}
	say(cmd.ErrOrStderr(), "%s. Type %s to confirm: ", lost, printable(id))
	typed := make(chan string, 1)
	go func() { // until a line is typed, or the process ends: a terminal cannot be told to stop
		line, _ := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
		typed <- strings.TrimSpace(line)
	}()
	select {
	case line := <-typed:
		if line != id {
			return errors.New("that is not the id, so nothing was done; with --yes it is not asked for")
		}
		return nil
	case <-cmd.Context().Done():
		return errors.New("interrupted, so nothing was done")
	}
}

// told tells what has come of a write. Secrets are alone on standard output.
func (v verb) told(o *operator, cmd *cobra.Command, at place, answer jsontext.Value) error {
	if o.json {
		err := jsonPrinter{cmd.OutOrStdout()}.print(answer)
		if err != nil && v.made(answer) {
			err = unshown(err)
		}
		return errors.Join(err, v.outcome(answer))
	}
	if v.rows != "" {
		return errors.Join(v.printRows(cmd, at, answer), v.outcome(answer))
	}
	if v.said != "" {
		return output(cmd.OutOrStdout(), "%s: %s\n", printable(at.ids[len(at.ids)-1]), v.said)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(answer, &members); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	var shown []string
	for _, name := range v.secrets {
		var secret string
		if value, ok := members[name]; ok && json.Unmarshal(value, &secret) == nil {
			if err := output(cmd.OutOrStdout(), "%s\n", printable(secret)); err != nil {
				return unshown(err)
			}
			shown = append(shown, name)
			delete(members, name)
		}
	}
	if shown == nil {
		return printRecord(cmd.OutOrStdout(), answer)
	}
	rest, err := without(answer, shown)
	if err != nil {
		return err
	}
	if err := printRecord(cmd.ErrOrStderr(), rest); err != nil {
		return err
	}
	say(cmd.ErrOrStderr(), "On standard output: %s, which Mandate shows this once.\n",
		strings.ReplaceAll(strings.Join(shown, ", then the "), "_", " "))
	return nil
}

// made says whether there is a secret in an answer.
func (v verb) made(answer jsontext.Value) bool {
	var members map[string]jsontext.Value
	return json.Unmarshal(answer, &members) == nil && slices.ContainsFunc(v.secrets, func(name string) bool { _, ok := members[name]; return ok })
}

// unshown is the error when a secret is lost that cannot be shown again.
func unshown(err error) error {
	return fmt.Errorf("the secret was made but could not be shown: rotate it: %w", err)
}

// without is the document without the members.
func without(document jsontext.Value, names []string) (jsontext.Value, error) {
	var b []byte
	decoder := jsontext.NewDecoder(strings.NewReader(string(document)))
	if _, err := decoder.ReadToken(); err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	for decoder.PeekKind() == '"' {
		name, err := decoder.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
		name = name.Clone()
		value, err := decoder.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
		bare, err := jsontext.AppendUnquote(nil, name)
		if err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
		if !slices.Contains(names, string(bare)) {
			b = fmt.Appendf(b, ",%s:%s", name, value)
		}
	}
	return fmt.Appendf(nil, "{%s}", strings.TrimPrefix(string(b), ",")), nil
}

// printRows prints the rows in an answer.
func (v verb) printRows(cmd *cobra.Command, at place, answer jsontext.Value) error {
	var members map[string]jsontext.Value
	var rows []jsontext.Value
	if err := errors.Join(json.Unmarshal(answer, &members), json.Unmarshal(members[v.rows], &rows)); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	table := newTablePrinter(cmd.OutOrStdout(), at.columns)
	for _, row := range rows {
		if err := table.print(row); err != nil {
			return err
		}
	}
	return table.end()
}

// outcome is the exit status of what was asked to be tested.
func (v verb) outcome(answer jsontext.Value) error {
	var test struct {
		OK *bool `json:"ok"`
	}
	if v.rows != "" && json.Unmarshal(answer, &test) == nil && test.OK != nil && !*test.OK {
		return exitStatus(1)
	}
	return nil
}

// edit changes the items of a list in a record, as long as nobody else changes the record meanwhile.
type edit struct {
	argument, member string
	do               func(items, args []string) []string
}

const maxEdits = 5

func (v verb) change(o *operator, cmd *cobra.Command, at place) error {
	if len(at.rest) == 0 {
		return fmt.Errorf("%s is missing: %s", v.edit.argument, cmd.UseLine())
	}
	for tries := 1; ; tries++ {
		document, err := o.ask(cmd, call{method: http.MethodGet, path: at.path, list: v.siblings(cmd, at)})
		if err != nil {
			return err
		}
		var record map[string]jsontext.Value
		var items []string
		if err := json.Unmarshal(document, &record); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if value, ok := record[v.edit.member]; ok {
			if err := json.Unmarshal(value, &items); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
		}
		body, err := json.Marshal(map[string][]string{v.edit.member: v.edit.do(items, at.rest)})
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		q := v.request(cmd, at, body)
		asked := q.ifMatch
		q.ifMatch = cmp.Or(asked, revisionIn(document))
		answer, err := o.ask(cmd, q)
		var refused *serverError
		if errors.As(err, &refused) && refused.status == http.StatusPreconditionFailed && asked == 0 && tries < maxEdits {
			continue
		}
		if err != nil {
			return err
		}
		return v.told(o, cmd, at, answer)
	}
}

// withItems has more items, each once.
func withItems(items, more []string) []string {
	for _, item := range more {
		if !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	return items
}

// withoutItems has those that are not named.
func withoutItems(items, less []string) []string {
	return slices.DeleteFunc(items, func(item string) bool { return slices.Contains(less, item) })
}
