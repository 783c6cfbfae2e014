package decisionlog_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/decisionlog"
)

func key32(first byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = first
	return ed25519.NewKeyFromSeed(seed)
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// frame is where a frame is in a segment that is not sealed.
type frame struct{ start, end int }

func framesOf(text []byte) (all []frame) {
	for at := 0; at < len(text); {
		end := at + 4 + int(binary.LittleEndian.Uint32(text[at:])) + 16
		all = append(all, frame{at, end})
		at = end
	}
	return all
}

// entries are the frames of records.
func entries(text []byte) []frame {
	return slices.DeleteFunc(framesOf(text), func(f frame) bool { return text[f.start+4] != 'E' })
}

func idAt(text []byte, f frame) decisionlog.ID {
	return decisionlog.ID(binary.LittleEndian.Uint64(text[f.start+5:]))
}

// written is a log of several segments, in which each group of records is followed by a signed head.
func written(t *testing.T, folder string, key ed25519.PrivateKey) decisionlog.Head {
	t.Helper()
	l, err := decisionlog.Open(folder, decisionlog.Options{Tenant: "default", Key: key, SegmentBytes: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 62 {
		mark := l.Mark()
		traffic(l, random, 20)
		if err := l.Commit(mark); err != nil {
			t.Fatal(err)
		}
		l.Checkpoint()
	}
	head := newestHead(t, folder, key)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return head
}

// newestHead is what an auditor keeps.
func newestHead(t *testing.T, folder string, key ed25519.PrivateKey) decisionlog.Head {
	t.Helper()
	v, err := decisionlog.Verify(t.Context(), folder, "default", public(key), decisionlog.Head{}, nil)
	if err != nil || v.Head == nil {
		t.Fatal("there is no head", err)
	}
	return *v.Head
}

// Every manner of tampering is found and named.
func TestTamperingIsFound(t *testing.T) {
	original := t.TempDir()
	anchor := written(t, original, key32(0))
	if n := len(listed(t, original)); n < 4 {
		t.Fatalf("%d segments", n)
	}
	const second = "0000000000000002.log"
	last := fmt.Sprintf("%016d.log", listed(t, original)[len(listed(t, original))-1])
	var id decisionlog.ID // of the record that is to be named
	edit := func(name string, change func(text []byte) []byte) func(string) error {
		return func(folder string) error {
			text, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(folder, name), change(slices.Clone(text)), 0o600)
		}
	}
	seal := func(folder string) error {
		l, err := decisionlog.Open(folder, decisionlog.Options{Tenant: "default", Key: key32(0), SegmentBytes: 20_000})
		if err != nil {
			return err
		}
		defer l.Close()
		return l.Tidy(t.Context())
	}
	for _, row := range []struct {
		name    string
		tamper  func(folder string) error
		what    decisionlog.Tampering // empty for none
		segment uint64
		named   *decisionlog.ID
	}{
		{"nothing", func(string) error { return nil }, "", 0, nil},
		{"nothing, and sealed", seal, "", 0, nil},
		{"a record turned from deny to allow", edit(second, func(text []byte) []byte {
			f := entries(text)[30]
			id = idAt(text, f)
			text[f.end-17] ^= 1
			return text
		}), decisionlog.Changed, 2, &id},
		{"a description of another subject", edit(second, func(text []byte) []byte {
			at := bytes.LastIndex(text, []byte(`{"type":"user","id":"u`))
			for _, f := range slices.Backward(entries(text)) {
				if f.start > at {
					id = idAt(text, f)
				}
			}
			text[at+len(`{"type":"user","id":"`)] = 'x'
			return text
		}), decisionlog.Changed, 2, &id},
		{"two records changed: the first", edit(second, func(text []byte) []byte {
			for _, i := range []int{50, 30} {
				f := entries(text)[i]
				id = idAt(text, f)
				text[f.end-17] ^= 1
			}
			return text
		}), decisionlog.Changed, 2, &id},
		{"a record dropped", edit(second, func(text []byte) []byte {
			f := entries(text)[30]
			id = idAt(text, entries(text)[31])
			return slices.Delete(text, f.start, f.end)
		}), decisionlog.Dropped, 2, &id},
		{"a head and what is before it dropped", edit(second, func(text []byte) []byte {
			all := entries(text)
			id = idAt(text, all[55])
			return slices.Delete(text, all[20].start, all[55].start)
		}), decisionlog.Dropped, 2, &id},
		{"two records reordered", edit(second, func(text []byte) []byte {
			a, b := entries(text)[30], entries(text)[31]
			id = idAt(text, b)
			return slices.Concat(text[:a.start], text[b.start:b.end], text[a.end:b.start], text[a.start:a.end], text[b.end:])
		}), decisionlog.Reordered, 2, &id},
		{"a record repeated", edit(second, func(text []byte) []byte {
			f := entries(text)[30]
			id = idAt(text, f)
			return slices.Insert(text, f.end, slices.Clone(text[f.start:f.end])...)
		}), decisionlog.Inserted, 2, &id},
		{"a record inserted that is chained", edit(second, func(text []byte) []byte {
			f := entries(text)[30]
			forged := slices.Clone(text[f.start:f.end])
			binary.LittleEndian.PutUint64(forged[5:], uint64(idAt(text, f))+1)
			id = idAt(text, f) + 1
			rechain(forged, text[f.end-16:f.end])
			return slices.Insert(text, f.end, forged...)
		}), decisionlog.Inserted, 2, &id},
		{"the length of a frame", edit(second, func(text []byte) []byte {
			text[entries(text)[30].start+2] = 0xff
			return text
		}), decisionlog.Changed, 2, nil},
		{"a record changed and all after it chained anew", edit(second, func(text []byte) []byte {
			f := entries(text)[30]
			text[f.end-17] ^= 1
			rechain(text, make([]byte, 16))
			return text
		}), decisionlog.Forged, 2, nil},
		{"the end of a segment", edit(second, func(text []byte) []byte { return text[:entries(text)[30].start] }), decisionlog.Forged, 2, nil},
		{"the end of a segment, torn", edit(second, func(text []byte) []byte { return text[:len(text)-3] }), decisionlog.Changed, 2, nil},
		{"the end of the log", edit(last, func(text []byte) []byte { return text[:entries(text)[3].end] }), decisionlog.Truncated, anchor.Segment, nil},
		{"the newest segment", func(folder string) error { return os.Remove(filepath.Join(folder, last)) }, decisionlog.Truncated, anchor.Segment, nil},
		{"a segment in the middle", func(folder string) error { return os.Remove(filepath.Join(folder, second)) }, decisionlog.Missing, 2, nil},
		{"the first segment", func(folder string) error { return os.Remove(filepath.Join(folder, "0000000000000001.log")) }, decisionlog.Missing, 1, nil},
		{"all segments", func(folder string) error { return removeAll(folder) }, decisionlog.Missing, 1, nil},
		{"two segments swapped", func(folder string) error {
			a, b := filepath.Join(folder, second), filepath.Join(folder, "0000000000000003.log")
			return firstError(os.Rename(a, a+"x"), os.Rename(b, a), os.Rename(a+"x", b))
		}, decisionlog.Reordered, 2, nil},
		{"the log of another", func(folder string) error {
			if err := removeAll(folder); err != nil {
				return err
			}
			written(t, folder, key32(7))
			return nil
		}, decisionlog.Forged, 1, nil},
		{"a note that retention did it, signed by another key", func(folder string) error {
			return firstError(os.Remove(filepath.Join(folder, "0000000000000001.log")), os.WriteFile(filepath.Join(folder, "removed.json"),
				[]byte(`{"segment":1,"link":"00000000000000000000000000000000","at":"2026-01-01T00:00:00Z","signature":"AAAA"}`), 0o600))
		}, decisionlog.Forged, 1, nil},
		{"a byte of a sealed block", func(folder string) error {
			return firstError(seal(folder), edit(second+".zst", func(text []byte) []byte { text[400] ^= 1; return text })(folder))
		}, decisionlog.Unreadable, 2, nil},
		{"the index of a sealed segment", func(folder string) error {
			return firstError(seal(folder), edit(second+".zst", func(text []byte) []byte { text[len(text)-60] ^= 1; return text })(folder))
		}, decisionlog.Unreadable, 2, nil},
		{"the columns of another segment", func(folder string) error {
			return firstError(seal(folder), edit(second+".zst", func(text []byte) []byte {
				i := bytes.LastIndex(text, []byte("\x28\xb5\x2f\xfd")) // the last column
				text[i+12] ^= 1
				return text
			})(folder))
		}, decisionlog.Misindexed, 2, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			if err := os.CopyFS(folder, os.DirFS(original)); err != nil {
				t.Fatal(err)
			}
			if err := row.tamper(folder); err != nil {
				t.Fatal(err)
			}
			v, err := decisionlog.Verify(t.Context(), folder, "default", public(key32(0)), anchor, nil)
			if err != nil {
				t.Fatal(err)
			}
			if row.what == "" {
				if len(v.Problems) > 0 || v.Records != 1240 || v.Unsigned != 0 {
					t.Errorf("good is %+v", v)
				}
				return
			}
			if len(v.Problems) == 0 {
				t.Fatalf("nothing was found: %+v", v)
			}
			p := v.Problems[0]
			if p.What != row.what || p.Segment != row.segment || (row.named != nil && p.ID != *row.named) {
				t.Errorf("found was %+v, want %s in %d, record %v", v.Problems, row.what, row.segment, row.named)
			}
		})
	}
}

// rechain computes the links of frames anew.
func rechain(text, former []byte) {
	for _, f := range framesOf(text) {
		sum := sha256.Sum256(slices.Concat(former, text[f.start:f.end-16]))
		copy(text[f.end-16:f.end], sum[:16])
		former = text[f.end-16 : f.end]
	}
}

func removeAll(folder string) error {
	entries, err := os.ReadDir(folder)
	for _, e := range entries {
		if strings.Contains(e.Name(), ".log") {
			err = firstError(err, os.Remove(filepath.Join(folder, e.Name())))
		}
	}
	return err
}

func firstError(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// What retention removes is not missed, and the rest of the log is found as before.
func TestRetention(t *testing.T) {
	for _, row := range []struct {
		name    string
		options decisionlog.Options
		advance time.Duration
	}{
		{"by age", decisionlog.Options{Retention: 24 * time.Hour}, 25 * time.Hour},
		{"not yet", decisionlog.Options{Retention: 24 * time.Hour}, 23 * time.Hour},
		{"by size", decisionlog.Options{MaxBytes: 30_000}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			now := time.Now()
			row.options.SegmentBytes, row.options.Now = 20_000, func() time.Time { return now }
			l := open(t, folder, row.options)
			random := rand.New(rand.NewPCG(1, 2))
			for range 20 {
				mark := l.Mark()
				traffic(l, random, 100)
				if err := l.Commit(mark); err != nil {
					t.Fatal(err)
				}
			}
			l.Checkpoint()
			anchor := newestHead(t, folder, key32(0))
			before := listed(t, folder)
			now = now.Add(row.advance)
			for range 2 {
				if err := l.Tidy(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			left := listed(t, folder)
			switch row.name {
			case "by age":
				if len(left) != 1 {
					t.Errorf("left are %v", left)
				}
			case "not yet":
				if len(left) != len(before) {
					t.Errorf("left are %v of %v", left, before)
				}
			case "by size":
				if len(left) < 2 || len(left) == len(before) {
					t.Errorf("left are %v of %v", left, before)
				}
			}
			records := read(t, folder)
			l.Record(describe(1), time.Now(), decisionlog.Entry{})
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			v, err := decisionlog.Verify(t.Context(), folder, "default", public(key32(0)), anchor, nil)
			if err != nil || len(v.Problems) > 0 || v.Records != len(records)+1 || v.Removed != left[0]-1 {
				t.Errorf("verified: %+v, %v", v, err)
			}
			if err := os.Remove(filepath.Join(folder, "removed.json")); err == nil {
				if v, err := decisionlog.Verify(t.Context(), folder, "default", public(key32(0)), anchor, nil); err != nil || len(v.Problems) == 0 {
					t.Errorf("without the note: %+v, %v", v, err)
				}
			}
		})
	}
}
