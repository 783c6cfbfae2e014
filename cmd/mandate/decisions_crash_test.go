package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mandate/decisionlog"
	"mandate/directory"
)

// A server that is killed under load has every decision that it answered in its log, once and whole, whatever it was doing: writing,
// beginning a segment, sealing one.
func TestAnsweredDecisionsOutliveTheServer(t *testing.T) {
	rounds := map[decisionlog.Mode]int{decisionlog.CrashSafe: 20, decisionlog.Durable: 10}
	if testing.Short() {
		rounds = map[decisionlog.Mode]int{decisionlog.CrashSafe: 3, decisionlog.Durable: 2}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for mode, rounds := range rounds {
		t.Run(string(mode), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			dir := t.TempDir()
			write(t, filepath.Join(dir, "directory.yaml"), serveDirectory)
			answered := map[string]bool{}
			for round := range rounds {
				p := start(t, dir, "serve", "--data", "data", "--directory", "directory.yaml", "--listen", "127.0.0.1:0",
					"--decision-log-mode", string(mode), "--decision-log-segment-size", "1MiB")
				askUntilKilled(t, p, answered, random.IntN(1500), time.Duration(random.Int64N(int64(5*time.Millisecond))))
				if checkLogged(t, filepath.Join(dir, "data"), answered); t.Failed() {
					t.Fatalf("in round %d", round)
				}
			}
			segments, err := decisionlog.Segments(filepath.Join(dir, "data", "decisions", "default"))
			if err != nil || len(segments) < 2 {
				t.Errorf("no segment has ended: %v, %v", segments, err)
			}
			t.Logf("%d decisions were answered, in %d segments", len(answered), len(segments))
		})
	}
}

// askUntilKilled kills the server a moment after so many answers, and adds the ids of the decisions that were answered.
func askUntilKilled(t *testing.T, p *process, answered map[string]bool, after int, extra time.Duration) {
	t.Helper()
	const clients = 8
	var mu sync.Mutex
	var kill sync.Once
	answers := 0
	take := func(ids []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			if answered[id] {
				t.Errorf("the decision %s was answered twice", id)
			}
			answered[id] = true
		}
		if answers++; answers >= after {
			kill.Do(func() {
				time.AfterFunc(extra, func() {
					if err := p.cmd.Process.Kill(); err != nil {
						t.Errorf("kill: %v", err)
					}
				})
			})
		}
	}
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := 0; ; i++ {
				ids, err := evaluateSome(p.address, c, i)
				if err != nil {
					return // it was killed
				}
				if len(ids) == 0 {
					t.Error("an answer has no decision")
					return
				}
				take(ids)
			}
		})
	}
	all.Wait()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatal("the server was not killed")
	}
}

// evaluateSome asks for a decision that repeats, for one that does not, or for several at once. It returns their ids when the whole
// answer has arrived.
func evaluateSome(address string, client, i int) ([]string, error) {
	question := func(resource string) string {
		return fmt.Sprintf(`{"subject":{"type":"user","id":"alice"},"action":{"name":"documents:read"},"resource":{"type":"document","id":%q,"properties":{"org":"acme"}}}`, resource)
	}
	path, body := "/access/v1/evaluation", question("same")
	switch i % 4 {
	case 0:
		body = question(fmt.Sprintf("%d-%d", client, i))
	case 1:
		path, body = "/access/v1/evaluations", fmt.Sprintf(`{"evaluations":[%s,%s,%s]}`, question("a"), question(fmt.Sprint(i)), question("c"))
	}
	request, err := http.NewRequest(http.MethodPost, "http://"+address+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer key-of-the-gateway")
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	type answer struct {
		Context struct {
			ID string `json:"decision_id"`
		} `json:"context"`
	}
	var one struct {
		answer
		Evaluations []answer `json:"evaluations"`
	}
	if err := json.Unmarshal(text, &one); err != nil {
		return nil, err
	}
	var ids []string
	for _, a := range append(one.Evaluations, one.answer) {
		if a.Context.ID != "" {
			ids = append(ids, a.Context.ID)
		}
	}
	return ids, nil
}

// checkLogged looks whether each answered decision is in the log once, and the log as it was written.
func checkLogged(t *testing.T, data string, answered map[string]bool) {
	t.Helper()
	folder := filepath.Join(data, "decisions", "default")
	logged := map[string]int{}
	for r, err := range decisionlog.Read(t.Context(), folder, 0) {
		if err != nil {
			t.Errorf("read the log: %v", err)
			return
		}
		logged[r.ID.String()]++
		if r.Description.Kind != decisionlog.Decision || len(r.Description.Input) == 0 || len(r.Description.Reasons) == 0 {
			t.Errorf("the record %v is not whole: %+v", r.ID, r)
		}
	}
	for id := range answered {
		if logged[id] != 1 {
			t.Errorf("the decision %s was answered and is in the log %d times", id, logged[id])
		}
	}
	for id, times := range logged {
		if times != 1 {
			t.Errorf("the decision %s is in the log %d times", id, times)
		}
	}
	master, err := directory.LoadMasterKey(filepath.Join(data, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := master.SigningKey("default", "decision log").Public().(ed25519.PublicKey)
	if v, err := decisionlog.Verify(t.Context(), folder, "default", key, decisionlog.Head{}, nil); err != nil || len(v.Problems) > 0 {
		t.Errorf("verified: %+v, %v", v, err)
	}
}
