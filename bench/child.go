package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit = 20 * time.Minute // a server that loads millions of facts into memory takes its time
	pollEvery  = 20 * time.Millisecond
	stopLimit  = 20 * time.Second
	// What runs in a program's stead must outlive it.
	programStopLimit = stopLimit / 2
)

// child is a server in a process of its own.
type child struct {
	name    string
	address string
	output  *childOutput
	end     context.CancelFunc
	exited  chan struct{}
	err     error // how it ended, once exited is closed

	pid   int           // of the server itself
	ready time.Duration // from its start to its first answer to readyPath
}

// startChild starts this program again in a role that serves, and waits until a GET of readyPath is answered with 200.
// The caller must stop it. Its life does not hang on ctx, so that it is stopped in order when the benchmark is
// interrupted.
func startChild(ctx context.Context, name, readyPath, role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(life, self, append([]string{role}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit // then it is killed
	cmd.Env = childEnvironment(os.Environ())
	c := &child{name: name, output: &childOutput{announced: make(chan string, 1)}, end: end, exited: make(chan struct{})}
	cmd.Stderr = c.output
	// It is never written to: it ends when this process does, however that happens, and playRole notices.
	if _, err := cmd.StdinPipe(); err != nil {
		end()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		end()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	started := time.Now()
	go func() {
		c.err = cmd.Wait()
		close(c.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := c.await(ctx, readyPath); err != nil {
		c.stop()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.pid, c.ready = cmd.Process.Pid, time.Since(started)
	if pid, since := c.output.programStarted(); pid != 0 {
		c.pid, c.ready = pid, time.Since(since)
	}
	return c, nil
}

// childEnvironment leaves out the settings of what is installed here.
func childEnvironment(environment []string) []string {
	return slices.DeleteFunc(environment, func(v string) bool {
		return strings.HasPrefix(v, "MANDATE_") || strings.HasPrefix(v, "CERBOS_") || strings.HasPrefix(v, "OPENFGA_")
	})
}

func (c *child) await(ctx context.Context, path string) error {
	select {
	case c.address = <-c.output.announced:
	case <-c.exited:
		return c.ended()
	case <-ctx.Done():
		return fmt.Errorf("no address to reach it: %w", ctx.Err())
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if answers(ctx, &client, "http://"+c.address+path) {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.exited:
			return c.ended()
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", path, ctx.Err())
		}
	}
}

func answers(ctx context.Context, client *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// ended says how a process ended that should not have.
func (c *child) ended() error {
	err := c.err
	if err == nil {
		err = errors.New("without an error")
	}
	return fmt.Errorf("%s has ended: %w; its last output:\n%s", c.name, err, c.output.last())
}

// check is nil while the process runs.
func (c *child) check() error {
	select {
	case <-c.exited:
		return c.ended()
	default:
		return nil
	}
}

// stop ends the process and waits for it.
func (c *child) stop() {
	c.end()
	<-c.exited
}

// childOutput keeps the end of what a child writes and finds its address in it.
type childOutput struct {
	announced chan string

	mu      sync.Mutex
	kept    []byte
	found   bool
	program int // that this one runs, see runProgram
	since   time.Time
}

func (o *childOutput) Write(p []byte) (int, error) {
	const most = 16 << 10
	address, program := regexp.MustCompile(`address=(127\.0\.0\.1:\d+)\b`), regexp.MustCompile(`(?m)^program=(\d+)$`)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, p...)
	// Only whole lines: the port could be cut.
	if lines := bytes.LastIndexByte(o.kept, '\n'); !o.found && lines >= 0 {
		if m := address.FindSubmatch(o.kept[:lines]); m != nil {
			o.found = true
			o.announced <- string(m[1])
		}
		if m := program.FindSubmatch(o.kept[:lines]); m != nil && o.program == 0 {
			o.program, _ = strconv.Atoi(string(m[1]))
			o.since = time.Now()
		}
	}
	if len(o.kept) > most {
		o.kept = slices.Clone(o.kept[len(o.kept)-most/2:])
	}
	return len(p), nil
}

func (o *childOutput) programStarted() (pid int, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.program, o.since
}

func (o *childOutput) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.kept)
}

// role is what this program does instead of measuring when its first argument says so: it serves until ctx ends, and
// writes address=127.0.0.1:PORT to its standard error.
type role func(ctx context.Context, args []string) error

func roles() map[string]role {
	return map[string]role{programRole: runProgram, programAtRole: runProgramAt, opaRole: serveOPA,
		ceilingRole: serveCeiling, writerRole: serveAndWrite}
}

func playRole(ctx context.Context, serve role, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the process that started this one
		cancel()
	}()
	if err := serve(ctx, args); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

func announce(address string) { fmt.Fprintf(os.Stderr, "address=%s\n", address) }

const (
	programRole   = "run-program"
	programAtRole = "run-program-at"
)

// runProgram runs another program, which writes its address itself. It is there so that the program ends also when the
// benchmark is killed, which it could not notice.
func runProgram(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = programStopLimit
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "program=%d\n", cmd.Process.Pid)
	return cmd.Wait()
}

// runProgramAt runs one that listens where it is told and does not say so: at the first argument.
func runProgramAt(ctx context.Context, args []string) error {
	announce(args[0])
	return runProgram(ctx, args[1:])
}
