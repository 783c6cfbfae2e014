package main

import (
	"os"
	"strings"
	"testing"
)

// TestREADME: the two commands by which everybody begins. TestPages runs the others.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"\n    go run ./cmd/mandate serve --dev\n", "\n    go test ./...\n"} {
		if !strings.Contains(string(readme), command) {
			t.Errorf("the README does not give the command%s", command)
		}
	}
}
