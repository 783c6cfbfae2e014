package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// field is a member of a body, from a flag.
type field struct {
	flag     string
	kind     fieldKind
	usage    string
	member   string // the flag's name with underscores when empty
	value    any    // of a constant
	required bool
}

type fieldKind int

const (
	textField fieldKind = iota
	listField           // more than one, by repeating it or with commas
	pairField           // name=value, repeated
	boolField
	secondsField  // a duration, in seconds
	endField      // a time, or a duration from now
	secretField   // a text that is read from a file
	constantField // the value, when the flag is there
)

func (f field) addTo(flags *pflag.FlagSet) {
	usage := f.usage
	if f.required {
		usage += " (required)"
	}
	switch f.kind {
	case listField:
		flags.StringSlice(f.flag, nil, usage)
	case pairField:
		flags.StringArray(f.flag, nil, usage)
	case boolField, constantField:
		flags.Bool(f.flag, false, usage)
	case secondsField:
		flags.Duration(f.flag, 0, usage)
	default:
		flags.String(f.flag, "", usage)
	}
}

// maxBody bounds what is read from a file for a request.
const maxBody = 1 << 20

// body is the JSON object that the flags make, empty when the operation takes none.
func (v verb) body(cmd *cobra.Command, at place) ([]byte, error) {
	members := map[string]any{}
	if name, _ := cmd.Flags().GetString("from"); name != "" {
		text, err := readBounded(cmd, name)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &members); err != nil || members == nil {
			return nil, fmt.Errorf("%s: not a JSON object: %w", name, cmp.Or(err, errors.New("it is null")))
		}
	}
	for _, f := range v.fields {
		if !cmd.Flags().Changed(f.flag) {
			if _, ok := members[f.name()]; f.required && !ok {
				return nil, fmt.Errorf("--%s is missing: %s", f.flag, f.usage)
			}
			continue
		}
		value, err := f.read(cmd, v.method == http.MethodPatch)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", f.flag, err)
		}
		if text, ok := value.(string); ok && text == "" && v.method == http.MethodPatch {
			value = nil // a merge patch takes it away
		}
		members[f.name()] = value
	}
	for name, value := range v.always {
		members[name] = value
	}
	if at.id != "" {
		members[v.id.member] = at.id
	}
	if len(members) == 0 {
		if v.method == http.MethodPatch {
			return nil, fmt.Errorf("there is nothing to change: see %s --help for the flags", cmd.CommandPath())
		}
		if v.id.name == "" {
			return nil, nil
		}
	}
	text, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return text, nil
}

func (f field) name() string { return cmp.Or(f.member, strings.ReplaceAll(f.flag, "-", "_")) }

// read is the value of the flag, which is there.
func (f field) read(cmd *cobra.Command, merge bool) (any, error) {
	flags := cmd.Flags()
	switch f.kind {
	case listField:
		items, err := flags.GetStringSlice(f.flag)
		return append([]string{}, items...), err
	case pairField:
		pairs, err := flags.GetStringArray(f.flag)
		if err != nil {
			return nil, err
		}
		return pairsOf(pairs, merge)
	case boolField:
		return flags.GetBool(f.flag)
	case constantField:
		return f.value, nil
	case secondsField:
		duration, err := flags.GetDuration(f.flag)
		return int64(duration / time.Second), err
	}
	text, err := flags.GetString(f.flag)
	if err != nil {
		return nil, err
	}
	switch f.kind {
	case endField:
		return endOf(text, time.Now())
	case secretField:
		secret, err := readBounded(cmd, text)
		if err != nil {
			return nil, err
		}
		if secret = bytes.TrimRight(secret, "\r\n"); len(secret) == 0 {
			return nil, fmt.Errorf("%s is empty", text)
		}
		return string(secret), nil
	}
	return text, nil
}

// pairsOf is an object of texts. In a merge patch a value that is left empty takes the name away.
func pairsOf(pairs []string, merge bool) (map[string]any, error) {
	object := map[string]any{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is not name=value", pair)
		}
		object[name] = value
		if value == "" && merge {
			object[name] = nil
		}
	}
	return object, nil
}

// endOf is a time in RFC 3339, from a time or from how long there is until then.
func endOf(text string, now time.Time) (any, error) {
	if text == "" {
		return "", nil
	}
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return text, nil
	}
	left, err := time.ParseDuration(text)
	if err != nil || left <= 0 {
		return nil, fmt.Errorf("%q is neither a time such as 2030-01-31T12:00:00Z nor a duration such as 720h", text)
	}
	return now.Add(left).UTC().Format(time.RFC3339), nil
}

// readBounded reads a small file, or standard input.
func readBounded(cmd *cobra.Command, name string) ([]byte, error) {
	from := cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxBody {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxBody)
	}
	return text, nil
}
