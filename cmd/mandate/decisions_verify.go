package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"mandate/decisionlog"
	"mandate/directory"
)

// verification is what the commands on the log of a data folder have in common. They do not open the store, so that a server may run.
type verification struct {
	*operator
	publicKey, anchor string
}

func (o *verification) addDataFlags(cmd *cobra.Command) {
	cmd.Flags().String("data", "", "data folder [MANDATE_DATA]")
	cmd.Flags().String("master-key", "", "file of the master key (default: master.key in the data folder) [MANDATE_MASTER_KEY]")
	cmd.Flags().String("config", "", "configuration file (mandate.yaml)")
}

func verifyCommand(op *operator) *cobra.Command {
	o := &verification{operator: op}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Look whether the decision log was tampered with",
		Long: `Look whether the decision log of a tenant was tampered with, offline: whether each record follows the one before it, and whether the
signed heads are by the right key. What was changed, dropped, inserted or reordered is named by segment, offset and id. A server may
run on the data folder meanwhile.

The key is derived from the master key, which whoever can read may forge with. So an auditor keeps the public key (mandate decisions
public-key) and gives it with --public-key: a file in PEM, or the key itself in base64.

That the newest records were cut off shows only beside something that was kept elsewhere: keep the output of verify --json, and give
it to the next one as --anchor.

The exit status is 0 when the log is good, and 1 when it was tampered with or cannot be verified.`,
		Example: `  mandate decisions verify --data ./mandate-data
  mandate decisions verify --data ./mandate-data --tenant staging --public-key auditor.pem --json > today.json
  mandate decisions verify --data ./mandate-data --public-key auditor.pem --anchor today.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.verify(cmd) },
	}
	o.addDataFlags(cmd)
	cmd.Flags().StringVar(&o.publicKey, "public-key", "", "file in PEM, or base64, of the key that the log must be signed by (default: derived from the master key)")
	cmd.Flags().StringVar(&o.anchor, "anchor", "", "file with the output of an earlier verify --json, after which nothing may be missing")
	return cmd
}

func publicKeyCommand(op *operator) *cobra.Command {
	o := &verification{operator: op}
	cmd := &cobra.Command{
		Use:   "public-key",
		Short: "Print the key that verifies the decision log",
		Long: `Print the public key (Ed25519, in PEM) by which the decision log of a tenant is verified, derived from the master key. It stays the
same as long as the master key does.`,
		Example: `  mandate decisions public-key --data ./mandate-data > auditor.pem`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, o.lookupEnv)
			if err != nil {
				return err
			}
			key, err := o.derivedKey(c)
			if err != nil {
				return err
			}
			text, err := x509.MarshalPKIXPublicKey(key)
			if err != nil {
				return fmt.Errorf("encode the public key: %w", err)
			}
			if o.json {
				return output(cmd.OutOrStdout(), "{\"public_key\": %q}\n", base64.StdEncoding.EncodeToString(key))
			}
			return output(cmd.OutOrStdout(), "%s", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: text}))
		},
	}
	o.addDataFlags(cmd)
	return cmd
}

func (o *verification) verify(cmd *cobra.Command) error {
	c, err := loadConfig(cmd, o.lookupEnv)
	if err != nil {
		return err
	}
	key, err := o.key(c)
	if err != nil {
		return err
	}
	anchor, err := o.anchorHead()
	if err != nil {
		return err
	}
	if err := o.at.checkTenant(); err != nil {
		return err
	}
	m := newMeter(cmd.ErrOrStderr())
	found, err := decisionlog.Verify(cmd.Context(), filepath.Join(c.Data, "decisions", o.at.tenant), o.at.tenant, key, anchor,
		func(records int) { m.show(amount{records: records}) })
	m.clear()
	if err != nil {
		return fmt.Errorf("verify the decision log of the tenant %s in %s: %w", o.at.tenant, c.Data, err)
	}
	if o.json {
		err = o.printJSON(cmd.OutOrStdout(), found)
	} else {
		err = printVerified(cmd.OutOrStdout(), found)
	}
	if err == nil && len(found.Problems) > 0 {
		return exitStatus(1)
	}
	return err
}

// key is the one that was given, else the one that the master key makes.
func (o *verification) key(c *config) (ed25519.PublicKey, error) {
	if o.publicKey == "" {
		return o.derivedKey(c)
	}
	text := []byte(o.publicKey)
	if file, err := os.ReadFile(o.publicKey); err == nil {
		text = file
	}
	if block, _ := pem.Decode(text); block != nil {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if key, ok := parsed.(ed25519.PublicKey); err == nil && ok {
			return key, nil
		}
	} else if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err == nil && len(raw) == ed25519.PublicKeySize {
		return raw, nil
	}
	return nil, errors.New("--public-key is neither a file with an Ed25519 key in PEM nor such a key in base64; mandate decisions public-key prints it")
}

// derivedKey reads the master key, and does not make one.
func (o *verification) derivedKey(c *config) (ed25519.PublicKey, error) {
	if _, err := os.Stat(c.MasterKey); err != nil {
		return nil, fmt.Errorf("there is no master key to derive the key of the log from, give one with --public-key: %w", err)
	}
	master, err := directory.LoadMasterKey(c.MasterKey)
	if err != nil {
		return nil, err
	}
	key, ok := master.SigningKey(directory.Tenant(o.at.tenant), "decision log").Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the key of the decision log is not an Ed25519 key")
	}
	return key, nil
}

func (o *verification) anchorHead() (decisionlog.Head, error) {
	if o.anchor == "" {
		return decisionlog.Head{}, nil
	}
	text, err := os.ReadFile(o.anchor)
	if err != nil {
		return decisionlog.Head{}, fmt.Errorf("read the anchor: %w", err)
	}
	var earlier decisionlog.Verified
	if err := json.Unmarshal(text, &earlier); err != nil {
		return decisionlog.Head{}, fmt.Errorf("the anchor %s is not the output of verify --json: %w", o.anchor, err)
	}
	if earlier.Head == nil {
		return decisionlog.Head{}, fmt.Errorf("the anchor %s has no signed head", o.anchor)
	}
	return *earlier.Head, nil
}

func (o *verification) printJSON(out io.Writer, found decisionlog.Verified) error {
	text, err := json.Marshal(found)
	if err != nil {
		return fmt.Errorf("print what was found: %w", err)
	}
	return jsonPrinter{out}.print(jsontext.Value(text))
}

func printVerified(out io.Writer, found decisionlog.Verified) error {
	if err := output(out, "%s records in %d segments, %d signed heads\n", humanize.Comma(int64(found.Records)), found.Segments, found.Heads); err != nil {
		return err
	}
	for _, note := range []struct {
		told bool
		text string
	}{
		{found.Records > 0, fmt.Sprintf("from %s to %s", found.First.Time().UTC().Format(time.RFC3339), found.Last.Time().UTC().Format(time.RFC3339))},
		{found.Removed > 0, fmt.Sprintf("retention has removed the segments up to %d", found.Removed)},
		{found.Unsigned > 0, fmt.Sprintf("the newest %d records are not signed yet", found.Unsigned)},
		{found.Torn > 0, fmt.Sprintf("%d bytes at the end are of a write that did not end", found.Torn)},
		{len(found.Problems) == 0, "GOOD  nothing was changed, dropped, inserted or reordered"},
	} {
		if note.told {
			if err := output(out, "%s\n", note.text); err != nil {
				return err
			}
		}
	}
	for _, p := range found.Problems {
		record := "-"
		if p.ID != 0 {
			record = p.ID.String()
		}
		if err := output(out, "TAMPERED  %s: segment %d, offset %d, record %s: %s\n", p.What, p.Segment, p.Offset, record, printable(p.Text)); err != nil {
			return err
		}
	}
	return nil
}
