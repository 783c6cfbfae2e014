package main

import "github.com/spf13/cobra"

func policyCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Build, test, try out, activate and take back policy sets",
		Args:  noSuchVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(policyInitCommand(), policyBuildCommand(), policyTestCommand(), policyLintCommand(), policyFmtCommand())
	cmd.AddCommand(policyReplayCommand(lookupEnv), policyShadowCommand(lookupEnv))
	cmd.AddCommand(policySetCommands(lookupEnv)...)
	return cmd
}
