package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// importing measures how fast the real binary imports users and their memberships as JSON Lines, and how much memory it
// takes: for all of -import-members, beside a tenth of them. The lines are made as they are read. Neither figure should
// follow from how many there are.
func importing(ctx context.Context, b *bench) error {
	binary, err := b.mandate(ctx)
	if err != nil {
		return err
	}
	r := race{title: "mandate import of JSON Lines, a user and a membership for each member",
		metrics: []metric{{"records per second", ""}, {"seconds", "s"}, {"largest resident memory", "MiB"}, {"of it without files", "MiB"}}}
	for _, members := range []int{b.ImportMembers, b.ImportMembers / 10} {
		r.contestants = append(r.contestants, contestant{humanize.Comma(int64(members)) + " members", func(ctx context.Context) ([]float64, error) {
			return b.importLines(ctx, binary, members)
		}})
	}
	r.ratios = []ratio{{"records per second: all / a tenth of them", 0, 0, 1}, {"memory without files: all / a tenth of them", 3, 0, 1}}
	b.note("organizations with %d members each, seen from outside the process every %s", b.Members, pollEvery)
	return b.race(ctx, r)
}

// importLines runs one import into a new data folder.
func (b *bench) importLines(ctx context.Context, binary string, members int) (values []float64, err error) {
	folder := filepath.Join(b.temp, "imported")
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	cmd := exec.CommandContext(ctx, binary, "import", "-", "--data", folder)
	cmd.Env = childEnvironment(os.Environ())
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	lines, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	c := &child{name: "import", pid: cmd.Process.Pid}
	written := make(chan error, 1)
	go func() { written <- errors.Join(writeMembers(lines, members, b.Members), lines.Close()) }()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var largest resident
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			seconds := time.Since(begun).Seconds()
			if err := errors.Join(err, <-written); err != nil {
				return nil, fmt.Errorf("import: %w\n%s", err, &output)
			}
			records := importedRecords(members, b.Members)
			if !strings.Contains(output.String(), fmt.Sprintf("Imported %d records", records)) {
				return nil, fmt.Errorf("import of %d records: %s", records, &output)
			}
			return []float64{float64(records) / seconds, seconds, largest.all, largest.own}, nil
		case <-tick.C:
			if r, err := c.residentMemory(); err == nil { // it may have ended just now
				largest.all, largest.own = max(largest.all, r.all), max(largest.own, r.own)
			}
			b.tick("importing %s members", humanize.Comma(int64(members)))
		}
	}
}

func importedRecords(members, inOrg int) int { return 1 + (members+inOrg-1)/inOrg + 2*members }

// writeMembers writes a role, the organizations, all users, and then their memberships.
func writeMembers(to io.Writer, members, inOrg int) error {
	w := bufio.NewWriterSize(to, 1<<16)
	_, _ = fmt.Fprintln(w, `{"role": {"id": "viewer", "permissions": ["documents:read"]}}`) // w keeps the first error
	for i := 0; i < members; i += inOrg {
		_, _ = fmt.Fprintf(w, "{\"org\": {\"id\": %q, \"name\": \"Company %d\"}}\n", orgID(i/inOrg), i/inOrg)
	}
	for i := range members {
		user := userID(i/inOrg, i%inOrg)
		_, _ = fmt.Fprintf(w, "{\"user\": {\"id\": %q, \"email\": \"%s@company-%d.example\"}}\n", user, user, i/inOrg)
	}
	for i := range members {
		_, _ = fmt.Fprintf(w, "{\"member\": {\"org\": %q, \"user\": %q, \"roles\": [\"viewer\"]}}\n", orgID(i/inOrg), userID(i/inOrg, i%inOrg))
	}
	return w.Flush()
}
