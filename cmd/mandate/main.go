// Command mandate is the decision service and its tools: serve, import, export, decide, keys, config, and those for the daily
// operations on the directory of a running server. It wires the other packages together and holds no logic of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	os.Exit(run())
}

// run is the whole command; its result is the exit status.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends at once
	if err := command(os.LookupEnv).ExecuteContext(ctx); err != nil {
		var status exitStatus
		if errors.As(err, &status) {
			return int(status)
		}
		fmt.Fprintln(os.Stderr, "mandate:", shownError(err))
		return 1
	}
	return 0
}

// exitStatus ends the command with a status and without a message: the output has said it all.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func command(lookupEnv func(string) (string, bool)) *cobra.Command {
	root := &cobra.Command{
		Use:   "mandate",
		Short: "May this credential do this, here, now?",
		Long: `Mandate decides for other people's APIs whether a credential may do something, by Rego policies over facts about
organizations, and issues tokens that can do exactly that and no more.

Start with:  mandate serve --dev`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(os.Stdout)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if errors.As(err, new(*pflag.NotExistError)) {
			return fmt.Errorf("%w; an id that begins with a hyphen goes after --", err)
		}
		return err
	})
	root.AddCommand(serveCommand(lookupEnv), importCommand(lookupEnv), exportCommand(lookupEnv), decideCommand(lookupEnv), keysCommand(lookupEnv),
		configCommand(lookupEnv), policyCommand(lookupEnv), decisionsCommand(lookupEnv), accessCommand(lookupEnv))
	addDirectoryCommands(root, lookupEnv)
	return root
}

// Bounds of an error on the terminal, in characters. What quotes other people's data may be of any length.
const (
	maxErrorLine  = 1000
	maxErrorLines = 1000
)

// shownError is an error for the terminal. A file, a certificate or an answer that it quotes may hold what a terminal would obey.
func shownError(err error) string {
	lines := strings.Split(err.Error(), "\n")
	if more := len(lines) - maxErrorLines; more > 0 {
		lines = append(lines[:maxErrorLines], fmt.Sprintf("and %d lines more", more))
	}
	for i, line := range lines {
		if text := []rune(line); len(text) > maxErrorLine {
			line = string(text[:maxErrorLine]) + "…"
		}
		lines[i] = line
	}
	return printableLines(strings.Join(lines, "\n"))
}

// say writes for the person at the terminal; when nobody can read it, there is nobody to tell.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// output writes what was asked for, which must not be lost in silence.
func output(w io.Writer, format string, args ...any) error {
	if _, err := fmt.Fprintf(w, format, args...); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}
