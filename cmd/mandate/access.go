package main

import "github.com/spf13/cobra"

func accessCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	o := &operator{lookupEnv: lookupEnv}
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Say who can do something, what somebody can do, and what nobody has used",
		Long: `Say who can do something, what somebody can do, and what nobody has used.

The server asks its policy about each who could be meant, as of one moment: nothing here has an opinion of its own. Who was asked
is said on standard error, for an answer about some is none about all.

` + aboutServer,
		Args: noSuchVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	o.addFlags(cmd.PersistentFlags())
	cmd.AddCommand(whoCanCommand(o), whatCanCommand(o), unusedCommand(o))
	return cmd
}
