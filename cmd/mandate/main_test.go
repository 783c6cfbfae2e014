package main

import (
	"errors"
	"os"
	"testing"

	opa "github.com/open-policy-agent/opa/cmd"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mandate": func() { os.Exit(run()) },
		"opa":     plainOPA,
	})
}

// plainOPA is OPA's own command, for pages that use it.
func plainOPA() {
	err := opa.RootCommand.Execute()
	var exit *opa.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.Exit)
	case err != nil:
		os.Exit(2)
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}
