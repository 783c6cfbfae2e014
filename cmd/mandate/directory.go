package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"mandate/datastore"
	"mandate/directory"
	"mandate/server"
)

func importCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import a directory file into the data folder",
		Long: `Import a directory file into the data folder, all of it or nothing; a file too large for one commit is written in
chunks, and goes on when it is imported again. Records are replaced by id. What the file does not name stays as it
is, memberships too: to take a right away, name it with less, or with status: suspended. A secret that the file
leaves out is made for new records, and printed this once.

The server must not be running on the same data folder.`,
		Example: "  mandate import directory.yaml --data ./mandate-data",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(cmd, lookupEnv)
			if err != nil {
				return err
			}
			file, err := readDirectory(args[0])
			if err != nil {
				return err
			}
			store, master, err := openStore(cmd.Context(), c, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			into := directory.Tenant(cmp.Or(tenant, file.Tenant, string(server.DefaultTenant)))
			var shown bool
			importer := directory.Importer{Store: store, Master: master, Progress: func(done, total int, made []directory.Made) {
				if done < total {
					say(cmd.ErrOrStderr(), "%d of %d records\n", done, total)
				}
				shown = printMade(cmd, made, shown)
			}}
			imported, err := importer.Import(cmd.Context(), into, file)
			if err := errors.Join(err, store.Close()); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			say(cmd.OutOrStdout(), "Imported %d records into tenant %s, at revision %d.\n", imported.Records, into, imported.Revision)
			return nil
		},
	}
	addSettings(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant to import into (default: the file's)")
	return cmd
}

func exportCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var tenant, output string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a tenant's directory as a directory file",
		Long: `Write a tenant's directory as a directory file. Of secrets it has the hashes only; they can be imported where the
same master key is used.

The server must not be running on the same data folder.`,
		Example: "  mandate export --data ./mandate-data > directory.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, lookupEnv)
			if err != nil {
				return err
			}
			if !datastore.TenantID(tenant).Valid() {
				return fmt.Errorf("--tenant %q must be lower case letters, digits and inner hyphens", tenant)
			}
			store, _, err := openExisting(cmd.Context(), c, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			view, err := store.View(cmd.Context())
			if err != nil {
				return errors.Join(err, store.Close())
			}
			file, err := directory.Export(cmd.Context(), directory.Tenant(tenant), view)
			view.Close()
			if err := errors.Join(err, store.Close()); err != nil {
				return err
			}
			if output == "" {
				return file.Write(cmd.OutOrStdout())
			}
			// Hashes of secrets are nobody else's to read.
			to, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return fmt.Errorf("write the directory file: %w", err)
			}
			return errors.Join(file.Write(to), to.Sync(), to.Close())
		},
	}
	addSettings(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", string(server.DefaultTenant), "tenant to export")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, readable by its owner only (default: standard output)")
	return cmd
}
