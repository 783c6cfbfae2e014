package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mandate/datastore"
)

var crashTests = []test{{"kill -9 in the middle of commits", killed}}

const (
	crashDirVariable = "STORETEST_CRASH_DIR"
	crashRounds      = 50
	crashWriters     = 4
	crashCopies      = 5
)

// Main runs the tests, or, in a process that the crash test has started, the writers that are to be killed.
func Main(m *testing.M, open Open) int {
	dir := os.Getenv(crashDirVariable)
	if dir == "" {
		return m.Run()
	}
	if err := commitUntilKilled(dir, open, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// commitUntilKilled commits from several writers. Commit n of a writer puts n in several documents far apart, one of
// changing size, and adds one to a counter that all writers share. Each acknowledgement is a line with the writer, n
// and the revision.
func commitUntilKilled(dir string, open Open, acknowledge io.Writer) error {
	store, err := open(dir, Options{Retention: time.Hour, Now: time.Now})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	failed := make(chan error, crashWriters)
	for w := range crashWriters {
		go func() {
			for {
				n, rev, err := crashCommit(store, w)
				if err == nil {
					// One write, so that lines of several writers do not mix.
					_, err = io.WriteString(acknowledge, fmt.Sprintf("%d %d %d\n", w, n, rev))
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return errors.Join(<-failed, store.Close())
}

func crashCopy(writer, copy int) datastore.Path {
	return tenant.Path(fmt.Sprintf("copies-%d", copy), fmt.Sprintf("writer-%d", writer))
}

func crashLog(writer, n int) datastore.Path {
	return tenant.Path("log", strconv.Itoa(writer), strconv.Itoa(n))
}

func crashTotal() datastore.Path { return tenant.Path("total") }

func crashCommit(store datastore.Store, w int) (n int, rev datastore.Revision, err error) {
	ctx := context.Background()
	rev, err = store.Update(ctx, func(tx datastore.Tx) error {
		if n, err = number(ctx, tx, crashCopy(w, 0)); err != nil {
			return err
		}
		n++
		for i := range crashCopies {
			if err := tx.Put(crashCopy(w, i), []byte(strconv.Itoa(n))); err != nil {
				return err
			}
		}
		padding := strings.Repeat("x", rand.IntN(1<<rand.IntN(17)))
		if err := tx.Put(crashLog(w, n), []byte(strconv.Itoa(n)+" "+padding)); err != nil {
			return err
		}
		if n > 20 {
			if err := tx.Delete(crashLog(w, n-20)); err != nil {
				return err
			}
		}
		total, err := number(ctx, tx, crashTotal())
		if err != nil {
			return err
		}
		return tx.Put(crashTotal(), []byte(strconv.Itoa(total+1)))
	})
	return n, rev, err
}

// number reads a document that holds a number, 0 when there is none.
func number(ctx context.Context, r datastore.Reader, p datastore.Path) (int, error) {
	value, err := r.Get(ctx, p)
	if errors.Is(err, datastore.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

func killed(t *testing.T, s suite) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	var acknowledged crashState
	commits := 0
	for round := range crashRounds {
		before := acknowledged.newest
		runAndKill(t, dir, random, &acknowledged)
		commits += int(acknowledged.newest - before)
		checkCrashed(t, s, dir, &acknowledged)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("%d rounds, about %d acknowledged commits", crashRounds, commits)
}

// crashState is what has been acknowledged so far.
type crashState struct {
	n      [crashWriters]int
	newest datastore.Revision
}

// runAndKill starts the writers, kills them at a random moment and adds to the state what they have printed.
func runAndKill(t *testing.T, dir string, random *rand.Rand, state *crashState) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), crashDirVariable+"="+dir)
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatalf("start the writers: %v", err)
	}
	// The moment is some acknowledgements after the start and up to a few milliseconds more, so that it falls
	// into every phase of a commit, on a slow machine as on a fast one. Sometimes it is before the first.
	killAfter := random.IntN(60)
	extra := time.Duration(random.Int64N(int64(4 * time.Millisecond)))
	if random.IntN(10) == 0 {
		killAfter, extra = 0, time.Duration(random.Int64N(int64(60*time.Millisecond)))
	}
	var kill sync.Once
	killSoon := func() {
		kill.Do(func() {
			time.AfterFunc(extra, func() {
				if err := child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Errorf("kill: %v", err)
				}
			})
		})
	}
	if killAfter == 0 {
		killSoon()
	}
	lines := 0
	for in := bufio.NewScanner(stdout); in.Scan(); {
		var w, n int
		var rev datastore.Revision
		if _, err := fmt.Sscanf(in.Text(), "%d %d %d", &w, &n, &rev); err != nil {
			t.Errorf("the writers say %q: %v", in.Text(), err)
		} else {
			state.n[w] = n
			state.newest = max(state.newest, rev)
		}
		if lines++; lines >= killAfter {
			killSoon()
		}
	}
	killSoon() // for writers that have ended by themselves
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the writers were not killed: %v: %s", err, stderr.String())
	}
}

// checkCrashed opens the store and checks that every acknowledged commit is in it and none in part. A commit that was
// not acknowledged may be there; then it counts from now on.
func checkCrashed(t *testing.T, s suite, dir string, state *crashState) {
	t.Helper()
	store := s.reopen(t, dir, &clock{now: time.Now()})
	v := view(t, store)
	if v.Revision() < state.newest {
		t.Errorf("revision %d was acknowledged, the newest is %d", state.newest, v.Revision())
	}
	sum := checkWhole(t, v, state.n[:])
	if sum != int(v.Revision()) { // each revision is one commit of one writer
		t.Errorf("%d commits are in revision %d", sum, v.Revision())
	}
	for _, back := range []datastore.Revision{1, 2, 7} {
		if back <= v.Revision() {
			if got := checkWhole(t, viewAt(t, store, v.Revision()-back), nil); got != sum-int(back) {
				t.Errorf("%d commits are in revision %d", got, v.Revision()-back)
			}
		}
	}
	for w := range crashWriters {
		n, err := number(t.Context(), v, crashCopy(w, 0))
		if err != nil {
			t.Errorf("writer %d: %v", w, err)
		}
		state.n[w] = n
	}
	state.newest = v.Revision()
	if v.Revision() > 0 {
		from := v.Revision() - min(v.Revision(), 100)
		for c, err := range store.Watch(t.Context(), from) {
			if from++; err != nil || c.Revision != from || len(c.Writes) < crashCopies {
				t.Errorf("watch: revision %d with %v, %v, want %d", c.Revision, c.Writes, err, from)
				break
			}
			if from == v.Revision() {
				break
			}
		}
	}
	if err := store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// checkWhole checks that all that a commit has written agrees, and returns the number of commits.
func checkWhole(t *testing.T, v datastore.View, atLeast []int) int {
	t.Helper()
	sum := 0
	for w := range crashWriters {
		n, err := number(t.Context(), v, crashCopy(w, 0))
		if err != nil {
			t.Fatalf("writer %d: %v", w, err)
		}
		if atLeast != nil && n < atLeast[w] {
			t.Errorf("commit %d of writer %d was acknowledged, the last one is %d", atLeast[w], w, n)
		}
		for i := range crashCopies {
			if got, err := number(t.Context(), v, crashCopy(w, i)); err != nil || got != n {
				t.Errorf("revision %d: copy %d of writer %d is %d, %v, want %d", v.Revision(), i, w, got, err, n)
			}
		}
		logged := collect(t, v, tenant.Path("log", strconv.Itoa(w)), datastore.Path{})
		if len(logged) != min(n, 20) {
			t.Errorf("revision %d: writer %d has %d log entries after commit %d", v.Revision(), w, len(logged), n)
		}
		for i := range min(n, 20) {
			got, _, _ := strings.Cut(read(t, v, crashLog(w, n-i)), " ")
			if got != strconv.Itoa(n-i) {
				t.Errorf("revision %d: log entry %d of writer %d is %q", v.Revision(), n-i, w, got)
			}
		}
		sum += n
	}
	total, err := number(t.Context(), v, crashTotal())
	if err != nil || total != sum {
		t.Errorf("revision %d: the total is %d, %v, want %d", v.Revision(), total, err, sum)
	}
	return sum
}
