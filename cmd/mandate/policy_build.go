package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"mandate/engine"
	"mandate/policies"
	"mandate/policyset"
)

func policyInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init DIR",
		Short: "Begin policies of your own: write those built in, with their tests and scenarios, into a folder",
		Long: `Begin policies of your own: write those that are built in, with their tests and scenarios, into a folder that is new or empty.

They are what decides until a tenant has others. Change what you need, see that the tests pass, and let the server follow the folder.`,
		Example: `  mandate policy init ./policies
  mandate policy build ./policies -o bundle.tar.gz
  mandate serve --policies ./policies`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			entries, err := os.ReadDir(dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("write the policies: %w", err)
			}
			if len(entries) > 0 {
				return fmt.Errorf("%s is not empty, and nothing in it is replaced: name a new folder", dir)
			}
			if err := errors.Join(os.CopyFS(dir, policies.FS), os.CopyFS(dir, policies.Scenarios)); err != nil {
				return fmt.Errorf("write the policies: %w", err)
			}
			return output(cmd.OutOrStdout(), "%s: the built-in policies. Try them with: mandate serve --dev --policies %s\n", dir, dir)
		},
	}
}

func policyBuildCommand() *cobra.Command {
	var name, revision string
	var sign policyset.Signing
	cmd := &cobra.Command{
		Use:   "build DIR|BUNDLE",
		Short: "Build an OPA bundle of the policies in a folder, signed if a key is given",
		Long: `Build an OPA bundle of the policies in a folder, signed if a key is given. It is what "opa build -b ." writes in that folder: a tenant can
take its policies from it, from a file or from any server for bundles.

The policies must be ones that the server would take: they compile in strict mode, their tests pass, and they define
data.mandate.access.decision, data.mandate.tokens.decision and data.mandate.manage.decision. The same folder makes the same bytes, and
the same policy revision whether the server reads the folder or the bundle. Signatures of ES256 and its like differ each time.`,
		Example: `  mandate policy build ./policies -o bundle.tar.gz
  mandate policy build ./policies -o bundle.tar.gz --signing-key key.pem --signing-alg ES256 --key-id release-2026
  mandate policy build unsigned.tar.gz -o bundle.tar.gz --signing-key key.pem`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var signing *policyset.Signing
			switch {
			case sign.Key != "":
				if _, err := os.ReadFile(sign.Key); err != nil {
					return fmt.Errorf("--signing-key: %w", err) // OPA's library would take a name that is no file for the key itself
				}
				signing = &sign
			case sign.Claims != "" || cmd.Flags().Changed("signing-alg") || cmd.Flags().Changed("key-id"):
				return errors.New("--signing-alg, --key-id and --claims-file are for --signing-key")
			}
			set, err := admitted(cmd, args[0])
			if err != nil {
				return err
			}
			if revision == "" {
				revision = set.Revision()
			}
			err = replaceFile(name, func(to io.Writer) error { return policyset.WriteBundle(to, set, revision, signing) })
			if err != nil {
				return err
			}
			signed := ""
			if signing != nil {
				signed = ", signed with the key " + sign.KeyID
			}
			return output(cmd.OutOrStdout(), "%s: policy set %s, %d files%s\n", name, set.Revision(), len(set.Files()), signed)
		},
	}
	cmd.Flags().StringVarP(&name, "output", "o", "bundle.tar.gz", "file to write")
	cmd.Flags().StringVar(&revision, "revision", "", "revision that the manifest names (default: that of the policy set, the hash of its content)")
	cmd.Flags().StringVar(&sign.Key, "signing-key", "", "file of the private key (PEM), or of the secret of an HMAC")
	cmd.Flags().StringVar(&sign.Algorithm, "signing-alg", "RS256", "algorithm of the signature")
	cmd.Flags().StringVar(&sign.KeyID, "key-id", "default", "id of the key, by which it is found where the signature is verified")
	cmd.Flags().StringVar(&sign.Claims, "claims-file", "", `file of further claims of the signature (JSON), such as {"scope": "policies"}`)
	return cmd
}

// admitted is the policy set in a folder or bundle.
func admitted(cmd *cobra.Command, place string) (*engine.PolicySet, error) {
	config := policiesConfig{Path: place}
	source, err := config.source()
	if err != nil {
		return nil, err
	}
	patience := time.AfterFunc(progressAfter, func() { say(cmd.ErrOrStderr(), "Testing the policies\n") })
	defer patience.Stop()
	set, err := source.First(cmd.Context())
	if err != nil {
		return nil, fmt.Errorf("%s is not a policy set:\n%w", place, err)
	}
	return set, nil
}
