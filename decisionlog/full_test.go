package decisionlog_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/decisionlog"
)

// limited runs the test in a process of its own, in which files can be kept from growing. It is false in the process that has
// started that.
func limited(t *testing.T) bool {
	const variable = "DECISIONLOG_LIMITED"
	if os.Getenv(variable) != "" {
		signal.Ignore(syscall.SIGXFSZ) // so that a write fails instead
		t.Cleanup(func() { limitFiles(t, -1) })
		return true
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	child.Env = append(os.Environ(), variable+"=1")
	if output, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	return false
}

// limitFiles lets no file of the process grow beyond a size, or again without a bound when it is negative (setrlimit RLIMIT_FSIZE). A
// write across it writes what fits, as on a disk that gets full.
func limitFiles(t *testing.T, size int64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if size >= 0 {
		limit.Cur = uint64(size)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
}

// On a full disk nothing is answered that is not logged, unless the operator wants that; and when there is room again, the log goes on
// without a torn record.
func TestFullDisk(t *testing.T) {
	if !limited(t) {
		return
	}
	for _, row := range []struct {
		name  string
		allow bool
		err   error
	}{{"denied", false, decisionlog.ErrNotLogged}, {"allowed with an alarm", true, nil}} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			var reports []error
			l := open(t, folder, decisionlog.Options{AllowUnlogged: row.allow, Report: func(err error) { reports = append(reports, err) }})
			record := func(n int) (decisionlog.ID, error) {
				mark := l.Mark()
				id := l.Record(describe(n), time.Now(), decisionlog.Entry{})
				return id, l.Commit(mark)
			}
			first, err := record(1)
			if err != nil {
				t.Fatal(err)
			}
			_, end := l.Written()
			for i := range 5 {
				limitFiles(t, end+int64(40*i))
				if _, err := record(2); !errors.Is(err, row.err) {
					t.Errorf("with room for %d bytes: %v, want %v", 40*i, err, row.err)
				}
			}
			stats := l.Stats()
			if !stats.Failing || stats.Failures != 5 || stats.Lost == 0 || len(reports) != 1 || !errors.Is(reports[0], syscall.EFBIG) {
				t.Errorf("%+v, reported was %v", stats, reports)
			}
			limitFiles(t, -1)
			last, err := record(3)
			if err != nil || l.Stats().Failing || len(reports) != 2 || reports[1] != nil {
				t.Errorf("with room again: %v, reported was %v", err, reports)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if all := read(t, folder); len(all) != 2 || all[0].ID != first || all[1].ID != last {
				t.Errorf("logged are %v", all)
			}
			good(t, folder)
		})
	}
}

func good(t *testing.T, folder string) decisionlog.Verified {
	t.Helper()
	v, err := decisionlog.Verify(t.Context(), folder, "default", public(key32(0)), decisionlog.Head{}, nil)
	if err != nil || len(v.Problems) > 0 || v.Torn > 0 {
		t.Fatalf("verified: %+v, %v", v, err)
	}
	return v
}

// Whatever happens to the log, it has what Commit has acknowledged, once, in order and as it was appended.
func TestLogAgainstModel(t *testing.T) {
	if !limited(t) {
		return
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	for range 40 {
		refused += againstModel(t, random)
		if t.Failed() {
			return
		}
	}
	if refused == 0 {
		t.Error("no commit failed")
	}
}

func againstModel(t *testing.T, random *rand.Rand) (refused int) {
	folder := t.TempDir()
	now := time.Now()
	mode := []decisionlog.Mode{decisionlog.CrashSafe, decisionlog.Durable}[random.IntN(2)]
	reopen := func() *decisionlog.Log {
		return open(t, folder, decisionlog.Options{Mode: mode, SegmentBytes: 6000, SegmentAge: time.Hour, Now: func() time.Time { return now }})
	}
	l := reopen()
	appended := map[decisionlog.ID]string{} // all that may be there
	var acknowledged []decisionlog.ID
	refs := map[int]decisionlog.Ref{}
	for range 60 {
		switch random.IntN(10) {
		default:
			mark := l.Mark()
			var ids []decisionlog.ID
			for range random.IntN(30) {
				n, entry := random.IntN(5), decisionlog.Entry{DataRevision: datastore.Revision(random.IntN(100)), Allow: random.IntN(2) == 0}
				id, err := l.Append(refs[n], now, entry)
				for err != nil {
					refs[n] = l.Describe(describe(n))
					id, err = l.Append(refs[n], now, entry)
				}
				appended[id] = fmt.Sprintf(`{"n":%d} %d %v`, n, entry.DataRevision, entry.Allow)
				ids = append(ids, id)
			}
			if err := l.Commit(mark); err == nil {
				acknowledged = append(acknowledged, ids...)
			} else {
				refused++
			}
		case 0:
			_, end := l.Written()
			limitFiles(t, random.Int64N(end+2000))
		case 1:
			limitFiles(t, -1)
		case 2:
			l.Checkpoint()
		case 3:
			_ = l.Tidy(t.Context()) // fails where there is no room
		case 4:
			limitFiles(t, -1)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l, refs = reopen(), map[int]decisionlog.Ref{}
		case 5:
			now = now.Add(time.Duration(random.Int64N(int64(3*time.Hour))) - time.Hour) // back as well
		}
	}
	limitFiles(t, -1)
	if err := l.Tidy(t.Context()); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	there := map[decisionlog.ID]bool{}
	last := decisionlog.ID(0)
	for _, r := range read(t, folder) {
		if got := fmt.Sprintf("%s %d %v", r.Description.Input, r.DataRevision, r.Allow); got != appended[r.ID] || r.ID <= last {
			t.Errorf("%v after %v: %s, appended was %s", r.ID, last, got, appended[r.ID])
		}
		there[r.ID], last = true, r.ID
	}
	for _, id := range acknowledged {
		if !there[id] {
			t.Errorf("%v was acknowledged and is not there", id)
		}
	}
	if v := good(t, folder); v.Records != len(there) || v.Unsigned > 0 {
		t.Errorf("%d records are there, verified: %+v", len(there), v)
	}
	return refused
}

// Only one process writes to a log.
func TestFolderIsLocked(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder, decisionlog.Options{})
	options := decisionlog.Options{Tenant: "default", Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	if _, err := decisionlog.Open(folder, options); err == nil {
		t.Error("it was opened twice")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := decisionlog.Open(folder, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
