package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"mandate/datastore"
	"mandate/directory"
)

// progressAfter is how long nothing is said of what takes time: most of it is over by then.
const progressAfter = 2 * time.Second

// meter tells on standard error how far something has come: on a terminal in one line that changes, else in a line now and
// then.
type meter struct {
	out      io.Writer
	terminal bool
	now      func() time.Time
	began    time.Time
	told     time.Time // zero before the first time
	width    int       // of what is in the line now
}

// amount is what was done. Of total, done is done, and before of it before the meter began; without a total, nobody knows
// how much is left.
type amount struct {
	records             int
	done, before, total int64
}

func newMeter(out io.Writer) *meter {
	m := &meter{out: out, now: time.Now, began: time.Now()}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		m.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return m
}

// show tells the amount, unless it was told a moment ago.
func (m *meter) show(a amount) {
	every := 10 * time.Second
	if m.terminal {
		every = 250 * time.Millisecond
	}
	now := m.now()
	if now.Sub(m.began) < progressAfter || now.Sub(m.told) < every {
		return
	}
	m.told = now
	text := a.after(now.Sub(m.began))
	if !m.terminal {
		say(m.out, "%s\n", text)
		return
	}
	m.clear()
	m.width = len(text)
	say(m.out, "%s", text)
}

// clear empties the line, for something else to be written.
func (m *meter) clear() {
	if m.width > 0 {
		say(m.out, "\r%s\r", strings.Repeat(" ", m.width))
		m.width = 0
	}
}

func (a amount) after(elapsed time.Duration) string {
	text := fmt.Sprintf("%s records, %s a second", humanize.Comma(int64(a.records)), humanize.Comma(int64(float64(a.records)/elapsed.Seconds())))
	if a.total <= 0 || a.done <= a.before {
		return text
	}
	left := time.Duration(float64(elapsed) * float64(max(a.total-a.done, 0)) / float64(a.done-a.before))
	return fmt.Sprintf("%s, %d %%, %s left", text, 100*a.done/a.total, left.Round(time.Second))
}

// importReport tells the secrets that an import makes, as soon as they are made, and in the end what it has done: to a
// person, or as one JSON object.
type importReport struct {
	cmd   *cobra.Command
	json  bool
	begun bool
	lost  error // the first secrets that could not be shown
}

func newImportReport(cmd *cobra.Command, json bool) *importReport {
	return &importReport{cmd: cmd, json: json}
}

type importSummary struct {
	Tenant       directory.Tenant   `json:"tenant"`
	Records      int                `json:"records"`
	ResumedAfter int                `json:"resumed_after_line,omitzero"`
	Revision     datastore.Revision `json:"revision"`
	Error        string             `json:"error,omitempty"`
}

func (r *importReport) made(made []directory.Made) {
	if !r.json {
		var err error
		r.begun, err = printMade(r.cmd, made, r.begun)
		r.lost = cmp.Or(r.lost, err)
		return
	}
	for _, m := range made {
		// Neither of them can fail to be encoded.
		text, _ := json.Marshal(struct {
			Kind   directory.SecretKind `json:"kind"`
			ID     string               `json:"id"`
			Secret string               `json:"secret"`
		}{m.Kind, m.ID, m.Secret.Expose()})
		before := ",\n  "
		if !r.begun {
			before, r.begun = "{\"made\":[\n  ", true
		}
		if err := output(r.cmd.OutOrStdout(), "%s%s", before, text); err != nil {
			r.lost = cmp.Or(r.lost, unshown(err))
		}
	}
}

// end returns err, with which the import has ended.
func (r *importReport) end(s importSummary, err error) error {
	out := r.cmd.OutOrStdout()
	err = errors.Join(err, r.lost)
	var told error
	switch {
	case r.json:
		if err != nil {
			s.Error = err.Error()
		}
		text, _ := json.Marshal(s)
		before := "],\n "
		if !r.begun {
			before = `{"made":[],` + "\n "
		}
		line, _ := jsonLine(text)
		told = output(out, "%s%s\n", before, line[1:])
	case err == nil && s.ResumedAfter > 0:
		told = output(out, "Imported %d records after line %d into tenant %s, at revision %d.\n", s.Records, s.ResumedAfter, s.Tenant, s.Revision)
	case err == nil:
		told = output(out, "Imported %d records into tenant %s, at revision %d.\n", s.Records, s.Tenant, s.Revision)
	}
	return errors.Join(err, told)
}
