package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"mandate/server"
)

// explainCommand says why a logged decision came out as it did.
func explainCommand(o *operator) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "explain ID",
		Short: "Make a decision again, and say why",
		Long: `Make a logged decision again, by the policy set that decided it, on the facts and at the instant of then, and say why it came out so: which
rules allowed it and without which facts it would be denied, or what would have to be different, and what the rules that came closest
failed by.

History is kept for as long as the setting history says: a decision that is older cannot be made again. What the policy mandate.log.mask
has removed from a record is not known here: then the decision may come out differently, which is said.`,
		Example: `  mandate decisions explain 1hth9vy0drcna
  mandate decisions explain 1hth9vy0drcna --all`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := o.ask(cmd, call{method: http.MethodGet, path: "/v1/decisions/" + url.PathEscape(args[0]) + "/explanation", list: "mandate decisions find"})
			if err != nil {
				return err
			}
			if o.json {
				return jsonPrinter{cmd.OutOrStdout()}.print(answer)
			}
			var explained server.Explained
			if err := json.Unmarshal(answer, &explained); err != nil {
				return fmt.Errorf("the server's answer is not an explanation: %w", err)
			}
			return output(cmd.OutOrStdout(), "%s", printableLines(explanationText(explained, all)))
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show every rule that was tried and every fact that was read")
	return cmd
}

// toTestCommand writes a logged decision as a test of the policies.
func toTestCommand(o *operator) *cobra.Command {
	return &cobra.Command{
		Use:   "to-test ID",
		Short: "Write a decision as a scenario file, for the tests of the policies",
		Long: `Write a logged decision as a scenario file, which mandate policy test runs: the question, the decision, and of the facts those members without
which it would be another. It was run once before it is printed.`,
		Example: `  mandate decisions to-test 1hth9vy0drcna > policies/bob_may_read.scenario
  mandate policy test policies`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := o.ask(cmd, call{method: http.MethodGet, path: "/v1/decisions/" + url.PathEscape(args[0]) + "/scenario", list: "mandate decisions find"})
			if err != nil {
				return err
			}
			if o.json {
				return jsonPrinter{cmd.OutOrStdout()}.print(answer)
			}
			var file struct {
				Scenario string `json:"scenario"`
			}
			if err := json.Unmarshal(answer, &file); err != nil {
				return fmt.Errorf("the server's answer is no scenario: %w", err)
			}
			return output(cmd.OutOrStdout(), "%s", printableLines(file.Scenario))
		},
	}
}
