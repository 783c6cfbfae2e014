package main

import "github.com/spf13/cobra"

func decisionsCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	o := &operator{lookupEnv: lookupEnv}
	cmd := &cobra.Command{
		Use:   "decisions",
		Short: "Find, follow and explain what was decided",
		Long: `Find, follow and explain what was decided: each decision, each failed authentication, and each token that was issued or refused.

` + aboutServer,
		Args: noSuchVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	o.addFlags(cmd.PersistentFlags())
	cmd.AddCommand(findCommand(o), tailCommand(o), recordCommand(o), explainCommand(o), toTestCommand(o), verifyCommand(o), publicKeyCommand(o))
	return cmd
}
