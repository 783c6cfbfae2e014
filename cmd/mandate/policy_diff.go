package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"mandate/engine"
	"mandate/policyset"
)

func diffCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	return policySetCommand(lookupEnv, &cobra.Command{
		Use: "diff A B", Short: "Compare two policy sets",
		Long: `Compare two policy sets, each a folder, a bundle file, or a stored set. The exit status is 1 when they differ, as of diff.

What is a folder or a file here is that, else a stored set. ` + aboutSets,
		Example: `  mandate policy diff active ./policies
  mandate policy diff 3f9a1c2 former
  mandate policy diff old.tar.gz new.tar.gz`,
		Args: cobra.ExactArgs(2),
	}, func(o *operator, cmd *cobra.Command, args []string) error {
		var sets [2][]engine.File
		for i, name := range args {
			var err error
			if sets[i], err = o.policySet(cmd, name); err != nil {
				return err
			}
		}
		differences := policyset.Diff(sets[0], sets[1])
		if o.json {
			text, err := json.Marshal(map[string]any{"files": differences})
			if err != nil {
				return fmt.Errorf("print the difference: %w", err)
			}
			if err := o.print(cmd, text); err != nil {
				return err
			}
		} else {
			for _, d := range differences {
				if err := output(cmd.OutOrStdout(), "%s", printableText(d.Diff)); err != nil {
					return err
				}
			}
		}
		if len(differences) > 0 {
			return exitStatus(1)
		}
		return nil
	})
}

// policySet are the files of a folder, a bundle or a stored set, in the order of their names.
func (o *operator) policySet(cmd *cobra.Command, name string) ([]engine.File, error) {
	_, err := os.Stat(name)
	var files []engine.File
	switch {
	case err == nil:
		if files, err = policyFiles(name); err == nil {
			// A set that compiles is compared as it would be stored, with all its data in one file.
			if set, refused := engine.CompileFiles(cmd.Context(), files); refused == nil {
				files = set.Files()
			}
		}
	case errors.Is(err, os.ErrNotExist) && !strings.ContainsRune(name, os.PathSeparator):
		files, err = o.storedFiles(cmd, name)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b engine.File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// printableText is a text with its lines and tabs, without what a terminal would obey.
func printableText(text string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' || unicode.IsGraphic(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}
