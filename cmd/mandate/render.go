package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// column is a column of a listing: a member of the documents, or of an object in them, as "resource.id".
type column struct{ title, member string }

// columns reads them from "ID=id STATUS=status".
func columns(text string) []column {
	var all []column
	for field := range strings.FieldsSeq(text) {
		title, member, _ := strings.Cut(field, "=")
		all = append(all, column{strings.ReplaceAll(title, "_", " "), member})
	}
	return all
}

// cell is one value of a document.
type cell struct{ member, text string }

// printable is the text without what a terminal would obey, or show as something else: control and format characters.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsGraphic(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

// printableLines is the text in lines, each printable.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// maxNesting bounds how deep objects are taken apart. What lies deeper is shown as JSON.
const maxNesting = 4

// cells takes a document apart, in the order of its members.
func cells(document jsontext.Value, above string, depth int) ([]cell, error) {
	decoder := jsontext.NewDecoder(bytes.NewReader(document))
	if kind := decoder.PeekKind(); kind != '{' {
		return nil, errors.New("the server's answer is not a JSON object")
	}
	if _, err := decoder.ReadToken(); err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	var all []cell
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
		member := above + name.String()
		value, err := decoder.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
		if value.Kind() == '{' && depth < maxNesting {
			below, err := cells(value, member+".", depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, below...)
			continue
		}
		all = append(all, cell{member, cellText(member, value)})
	}
	return all, nil
}

// cellText is a value for people: lists with commas, times in UTC, nothing for null.
func cellText(member string, value jsontext.Value) string {
	switch value.Kind() {
	case 'n':
		return ""
	case '"':
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return printable(value.String())
		}
		if at, err := time.Parse(time.RFC3339Nano, string(text)); err == nil && namesTime(member) {
			return at.UTC().Format(time.RFC3339)
		}
		if short := shortRevision(string(text)); short != "" {
			return short
		}
		return printable(string(text))
	case '[':
		var items []string
		decoder := jsontext.NewDecoder(bytes.NewReader(value))
		if _, err := decoder.ReadToken(); err != nil {
			return printable(value.String())
		}
		for decoder.PeekKind() != ']' {
			item, err := decoder.ReadValue()
			if err != nil {
				return printable(value.String())
			}
			items = append(items, cellText("", item))
		}
		return strings.Join(items, ",")
	}
	return printable(value.String())
}

// shortRevision is how people read the revision of a policy set, by which commands know it; empty for other texts.
func shortRevision(text string) string {
	if len(text) != 64 || strings.Trim(text, "0123456789abcdef") != "" {
		return ""
	}
	return text[:12]
}

func namesTime(member string) bool {
	return member == "at" || strings.HasSuffix(member, "_at") || strings.HasSuffix(member, "_attempt") || strings.HasSuffix(member, "_since")
}

// printer writes the documents of a listing.
type printer interface {
	print(document jsontext.Value) error
	end() error
}

// jsonPrinter writes documents as the server has sent them, one a line (JSON Lines).
type jsonPrinter struct{ out io.Writer }

func (p jsonPrinter) print(document jsontext.Value) error {
	text, err := jsonLine(document)
	if err != nil {
		return err
	}
	return output(p.out, "%s\n", text)
}

func (p jsonPrinter) end() error { return nil }

// jsonLine is a document in one line. What a terminal would obey is escaped, which means the same.
func jsonLine(document jsontext.Value) (string, error) {
	document = document.Clone()
	if err := document.Compact(); err != nil {
		return "", fmt.Errorf("read the server's answer: %w", err)
	}
	var b strings.Builder
	for _, c := range string(document) {
		switch {
		case unicode.IsGraphic(c):
			b.WriteRune(c)
		case c > 0xFFFF:
			high, low := (c-0x10000)>>10+0xD800, (c-0x10000)&0x3FF+0xDC00
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String(), nil
}

// blockRows is how many rows are held back, for their columns to be as wide as the widest.
const blockRows = 1000

// tablePrinter writes a table for people. Each value is one word to awk, except the last column, where names are.
type tablePrinter struct {
	columns []column
	table   *tabwriter.Writer
	rows    int
}

func newTablePrinter(out io.Writer, all []column) *tablePrinter {
	return &tablePrinter{columns: all, table: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
}

func (p *tablePrinter) head() {
	titles := make([]string, len(p.columns))
	for i, c := range p.columns {
		titles[i] = c.title
	}
	say(p.table, "%s\n", strings.Join(titles, "\t"))
}

func (p *tablePrinter) print(document jsontext.Value) error {
	row, err := rowOf(p.columns, document)
	if err != nil {
		return err
	}
	if p.rows == 0 {
		p.head()
	}
	for i := range row {
		if row[i] == "" {
			row[i] = "-"
		}
	}
	say(p.table, "%s\n", strings.Join(row, "\t"))
	if p.rows++; p.rows%blockRows == 0 {
		return flush(p.table)
	}
	return nil
}

func (p *tablePrinter) end() error {
	if p.rows == 0 {
		p.head()
	}
	return flush(p.table)
}

// flush writes a table, which keeps all until then.
func flush(table *tabwriter.Writer) error {
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// rowOf are the values of a document in the columns.
func rowOf(all []column, document jsontext.Value) ([]string, error) {
	found, err := cells(document, "", 0)
	if err != nil {
		return nil, err
	}
	row := make([]string, len(all))
	for i, column := range all {
		for _, c := range found {
			if c.member == column.member {
				row[i] = c.text
			}
		}
	}
	return row, nil
}

// csvPrinter writes a listing for spreadsheets (RFC 4180).
type csvPrinter struct {
	columns []column
	out     io.Writer
}

func newCSVPrinter(out io.Writer, all []column) (*csvPrinter, error) {
	p := &csvPrinter{all, out}
	head := make([]string, len(all))
	for i, c := range all {
		head[i] = c.member
	}
	return p, p.row(head)
}

func (p *csvPrinter) print(document jsontext.Value) error {
	row, err := rowOf(p.columns, document)
	if err != nil {
		return err
	}
	return p.row(row)
}

// row writes every field in quotes, so that a spreadsheet that takes another separator than a comma finds none in them.
func (p *csvPrinter) row(fields []string) error {
	quoted := make([]string, len(fields))
	for i, field := range fields {
		quoted[i] = `"` + strings.ReplaceAll(harmless(field), `"`, `""`) + `"`
	}
	return output(p.out, "%s\n", strings.Join(quoted, ","))
}

func (p *csvPrinter) end() error { return nil }

// harmless keeps a spreadsheet from taking a text for a formula (CSV injection), which it does by the first character of a cell. A
// cell begins where the field does, and after what the spreadsheet may take for a separator, quotes or not.
func harmless(field string) string {
	var b strings.Builder
	begins := true
	for _, c := range field {
		if begins && strings.ContainsRune("=+-@\t\r\n＝＋－＠", c) {
			b.WriteByte('\'')
		}
		b.WriteRune(c)
		begins = strings.ContainsRune(";\t\r\n", c) || (begins && (unicode.IsSpace(c) || c == '"'))
	}
	return b.String()
}

// printRecord writes one document for people, a member a line.
func printRecord(out io.Writer, document jsontext.Value) error {
	found, err := cells(document, "", 0)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range found {
		if c.text == "" {
			c.text = "-"
		}
		say(table, "%s\t%s\n", printable(c.member), c.text)
	}
	return flush(table)
}

// revisionIn is the revision of a document.
func revisionIn(document jsontext.Value) uint64 {
	found, err := cells(document, "", 0)
	if err != nil {
		return 0
	}
	for _, c := range found {
		if c.member == "revision" {
			revision, _ := strconv.ParseUint(c.text, 10, 64)
			return revision
		}
	}
	return 0
}
