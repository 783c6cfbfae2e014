package main

import "github.com/spf13/cobra"

func policyCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Build, test, try out, activate and take back policy sets",
		Args:  noSuchVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand()
	_ = lookupEnv
	return cmd
}
