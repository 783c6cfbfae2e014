package main

import "github.com/spf13/cobra"

func decisionsCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "decisions",
		Short: "Find, follow and explain what was decided",
		Args:  noSuchVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand()
	_ = lookupEnv
	return cmd
}
