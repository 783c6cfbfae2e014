package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"mandate/replay"
)

const shadowPoll = time.Second

func policyShadowCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var follow bool
	cmd := policySetCommand(lookupEnv, &cobra.Command{
		Use:   "shadow",
		Short: "Show what the policy set beside the active one decides differently",
		Long: `Show what the policy set that mandate policy activate --shadow has put beside the active one decides differently: since when, how
many decisions were compared, and those that differ, grouped by rule, organization, subject and action.

A decision is compared when it is made, off the path of its request. What is remembered was compared already, unless something
has changed. When too many wait, some are dropped and come again later. A new set, another active one, and a restart begin anew.`,
		Example: `  mandate policy activate 3f9a1c2 --shadow
  mandate policy shadow
  mandate policy shadow --follow`,
		Args: cobra.NoArgs,
	}, func(o *operator, cmd *cobra.Command, _ []string) error {
		tick := time.NewTicker(shadowPoll)
		defer tick.Stop()
		for said := ""; ; {
			document, err := o.ask(cmd, call{method: http.MethodGet, path: "/v1/policies/shadow/report", list: "mandate policy list: there may be no shadow"})
			if err != nil {
				return err
			}
			if string(document) != said {
				said = string(document)
				if err := o.printShadow(cmd, document); err != nil {
					return err
				}
			}
			if !follow {
				return nil
			}
			select {
			case <-tick.C:
			case <-cmd.Context().Done():
				return nil
			}
		}
	})
	cmd.Flags().BoolVar(&follow, "follow", false, "show it again whenever it changes")
	return cmd
}

func (o *operator) printShadow(cmd *cobra.Command, document jsontext.Value) error {
	if o.json {
		return o.print(cmd, document)
	}
	var live replay.Live
	if err := json.Unmarshal(document, &live); err != nil {
		return fmt.Errorf("the server's answer is not the report of a shadow: %w", err)
	}
	out := cmd.OutOrStdout()
	say(out, "%.12s beside %.12s since %s: %s decisions compared\n", live.Candidate, live.Active, live.Since.Format(time.RFC3339),
		humanize.Comma(int64(live.Decided)))
	return printTurned(out, &live.Report, live.Groups)
}
