package main

import "github.com/spf13/cobra"

func accessCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Say who can do something, what somebody can do, and what nobody has used",
		Args:  noSuchVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand()
	_ = lookupEnv
	return cmd
}
