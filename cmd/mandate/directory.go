package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"mandate/datastore"
	"mandate/directory"
	"mandate/server"
)

func importCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import a directory file or JSON Lines into the data folder",
		Long: `Import a directory into the data folder. Records are replaced by id. What is not named stays as it is, memberships
too: to take a right away, name it with less, or with status: suspended. A secret that is left out is made for new
records, and printed this once.

A directory file (YAML) is imported all of it or nothing. It is read as a whole, up to 256 MiB; one too large for one
commit is written in chunks, and goes on when it is imported again.

JSON Lines (.jsonl, .ndjson, or - for standard input) are for many records, in memory that does not grow with them.
Each line is one record, with the members that the directory file knows:

  {"role": {"id": "viewer", "permissions": ["documents:read"]}}
  {"org": {"id": "acme", "name": "Acme Industries"}}
  {"user": {"id": "alice", "email": "alice@acme.example"}}
  {"member": {"org": "acme", "user": "alice", "roles": ["viewer"]}}

and so api, vendor, client, api_key, integration, consent, relation, and custom with a path and a value. A role with
an org is that organization's own. A line may refer to lines before it and to what is there already.

Lines are written in chunks, each whole or not at all. After an interruption, or when a line was wrong and is corrected,
the same command goes on where it ended; --restart begins with the first line instead. Passwords in the clear take about
20 ms each, so give password_hash where there are many.

The server must not be running on the same data folder.`,
		Example: `  mandate import directory.yaml --data ./mandate-data
  mandate import members.jsonl --data ./mandate-data
  zcat members.jsonl.gz | mandate import - --data ./mandate-data --json > made.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(cmd, lookupEnv)
			if err != nil {
				return err
			}
			if linesIn(args[0]) {
				return importLines(cmd, c, o, args[0])
			}
			if o.restart {
				return errors.New("--restart is for JSON Lines: a directory file is always imported from its beginning")
			}
			return importFile(cmd, c, o, args[0])
		},
	}
	addSettings(cmd)
	cmd.Flags().StringVar(&o.tenant, "tenant", "", "tenant to import into (default: the directory file's, else "+string(server.DefaultTenant)+")")
	cmd.Flags().BoolVar(&o.json, "json", false, "print what was done and the secrets that were made as JSON")
	cmd.Flags().BoolVar(&o.restart, "restart", false, "give up an unfinished import of JSON Lines and begin with the first line")
	return cmd
}

type importOptions struct {
	tenant        string
	json, restart bool
}

func linesIn(name string) bool {
	extension := filepath.Ext(name)
	return name == "-" || extension == ".jsonl" || extension == ".ndjson"
}

func importFile(cmd *cobra.Command, c *config, o importOptions, name string) error {
	late := time.AfterFunc(progressAfter, func() { say(cmd.ErrOrStderr(), "reading and checking %s as a whole\n", name) })
	defer late.Stop()
	file, err := readDirectory(name)
	if err != nil {
		return err
	}
	store, master, err := openStore(cmd.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	into := directory.Tenant(cmp.Or(o.tenant, file.Tenant, string(server.DefaultTenant)))
	meter, report := newMeter(cmd.ErrOrStderr()), newImportReport(cmd, o.json)
	importer := directory.Importer{Store: store, Master: master, Progress: func(done, total int, made []directory.Made) {
		late.Stop()
		meter.clear()
		report.made(made)
		meter.show(amount{records: done, done: int64(done), total: int64(total)})
	}}
	imported, err := importer.Import(cmd.Context(), into, file)
	meter.clear()
	if err = errors.Join(err, store.Close()); err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return report.end(importSummary{Tenant: into, Records: imported.Records, Revision: imported.Revision}, err)
}

// linesMemory is what the heap keeps below while lines are imported. The store alone takes up to half of it.
const linesMemory = 512 << 20

func importLines(cmd *cobra.Command, c *config, o importOptions, name string) error {
	from, size, err := openLines(cmd, name)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // nobody has set GOMEMLIMIT
		debug.SetMemoryLimit(linesMemory)
	}
	store, master, err := openStore(cmd.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	into := directory.Tenant(cmp.Or(o.tenant, string(server.DefaultTenant)))
	meter, report := newMeter(cmd.ErrOrStderr()), newImportReport(cmd, o.json)
	var before int64
	importer := directory.Stream{Store: store, Master: master, Now: time.Now, Restart: o.restart,
		Progress: func(done directory.Streamed, made []directory.Made) {
			meter.clear()
			report.made(made)
			if done.Records == 0 && done.Resumed > 0 {
				before = done.Bytes
				say(cmd.ErrOrStderr(), "going on after line %d, up to which this was imported before\n", done.Resumed)
			}
			meter.show(amount{records: done.Records, done: done.Bytes, before: before, total: size})
		}}
	done, err := importer.Import(cmd.Context(), into, name, from)
	meter.clear()
	err = errors.Join(explainLines(name, done, err), store.Close())
	return report.end(importSummary{Tenant: into, Records: done.Records, Revision: done.Revision, ResumedAfter: done.Resumed}, err)
}

// openLines opens the file, or standard input, and says how large it is, 0 when nobody knows.
func openLines(cmd *cobra.Command, name string) (io.ReadCloser, int64, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, 0, fmt.Errorf("open the lines: %w", err)
		}
		return file, sizeOf(file), nil
	}
	return io.NopCloser(cmd.InOrStdin()), sizeOf(cmd.InOrStdin()), nil
}

func sizeOf(r io.Reader) int64 {
	file, ok := r.(*os.File)
	if !ok {
		return 0
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// explainLines says where the problems are, and how to go on.
func explainLines(name string, done directory.Streamed, err error) error {
	var problems directory.Problems
	var other *directory.UnfinishedError
	switch {
	case errors.As(err, &other):
		return fmt.Errorf("%s: %w: import that again to go on, or give it up with --restart", name, err)
	case errors.As(err, &problems):
		var all []error
		for _, p := range problems {
			place := fmt.Sprintf("%s:%d", name, p.Line)
			p.Line = 0
			all = append(all, fmt.Errorf("%s: %s", place, p))
		}
		if done.Lines > 0 {
			all = append(all, fmt.Errorf("all up to line %d is imported: correct what comes after it, and run the same command again to go on", done.Lines))
		}
		return errors.Join(all...)
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// tellUnfinished warns of an import of lines that was interrupted: some of the facts are missing.
func (s *service) tellUnfinished(ctx context.Context, tenant directory.Tenant) error {
	view, err := s.store.View(ctx)
	if err != nil {
		return fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	u, found, err := tenant.Unfinished().Find(ctx, view)
	if found {
		s.log.Warn("an import has not come to its end, so facts are missing: stop the server and run mandate import again to go on",
			"tenant", tenant, "source", u.Source, "lines", u.Lines, "began", u.StartedAt)
	}
	return err
}

func exportCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var tenant, output, format string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a tenant's directory as a directory file or JSON Lines",
		Long: `Write a tenant's directory as a directory file, or with --format jsonl as JSON Lines, in memory that does not grow with
their number. Of secrets it has the hashes only; they can be imported where the same master key is used.

The server must not be running on the same data folder.`,
		Example: `  mandate export --data ./mandate-data > directory.yaml
  mandate export --data ./mandate-data --format jsonl -o directory.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, lookupEnv)
			if err != nil {
				return err
			}
			if !datastore.TenantID(tenant).Valid() {
				return fmt.Errorf("--tenant %q must be lower case letters, digits and inner hyphens", tenant)
			}
			if format != "yaml" && format != "jsonl" {
				return fmt.Errorf("--format %q must be yaml or jsonl", format)
			}
			store, _, err := openExisting(cmd.Context(), c, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			return errors.Join(exportStore(cmd, store, directory.Tenant(tenant), format, output), store.Close())
		},
	}
	addSettings(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", string(server.DefaultTenant), "tenant to export")
	cmd.Flags().StringVar(&format, "format", "yaml", "yaml, or jsonl for one record a line")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, readable by its owner only (default: standard output)")
	return cmd
}

func exportStore(cmd *cobra.Command, store datastore.Store, tenant directory.Tenant, format, name string) error {
	view, err := store.View(cmd.Context())
	if err != nil {
		return err
	}
	defer view.Close()
	if name == "" {
		return exportTo(cmd, view, tenant, format, cmd.OutOrStdout())
	}
	return replaceFile(name, func(to io.Writer) error { return exportTo(cmd, view, tenant, format, to) })
}

// replaceFile writes a file that only its owner can read, in place of the file that has its name: hashes of secrets are nobody else's
// to read, whatever mode the former file has, and links such as /dev/stdout are not to be replaced. When writing fails, the former file is there as it was.
func replaceFile(name string, write func(io.Writer) error) error {
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("write the output: %s is a link or no regular file: leave out --output for standard output", name)
	}
	to, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // with mode 0600
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	if err := errors.Join(write(to), to.Sync(), to.Close()); err != nil {
		return errors.Join(err, os.Remove(to.Name()))
	}
	if err := os.Rename(to.Name(), name); err != nil {
		return errors.Join(fmt.Errorf("write the output: %w", err), os.Remove(to.Name()))
	}
	return nil
}

func exportTo(cmd *cobra.Command, view datastore.View, tenant directory.Tenant, format string, to io.Writer) error {
	if format == "yaml" {
		file, err := directory.Export(cmd.Context(), tenant, view)
		if err != nil {
			return err
		}
		return file.Write(to)
	}
	buffered := bufio.NewWriter(to)
	meter := newMeter(cmd.ErrOrStderr())
	defer meter.clear()
	err := directory.ExportLines(cmd.Context(), tenant, view, buffered, func(lines int) { meter.show(amount{records: lines}) })
	return errors.Join(err, buffered.Flush())
}
