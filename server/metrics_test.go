package server_test

import (
	"net/http"
	"regexp"
	"strconv"
	"testing"
)

func TestMetrics(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for range 3 {
		s.ask(t, h.key("gateway"), evaluationPath, good)
	}
	for name, row := range map[string]struct {
		as     credential
		status int
	}{
		"nobody":                  {nil, http.StatusUnauthorized},
		"who may only decide":     {h.client("documents-api"), http.StatusForbidden},
		"who may manage":          {h.client("operator"), http.StatusOK},
		"who has a wrong secret":  {basic("operator", "wrong"), http.StatusUnauthorized},
		"a manager of the tenant": {h.client("manager"), http.StatusOK},
	} {
		a := s.send(t, "GET", "/metrics", "", row.as...)
		if a.status != row.status {
			t.Errorf("%s: want %d, got %d %.200s", name, row.status, a.status, a.body)
		}
		if a.status != http.StatusOK {
			continue
		}
		for metric, least := range map[string]float64{
			`mandate_memo_hits_total`: 2, `mandate_memo_entries`: 1, `mandate_memo_bytes`: 100,
			`mandate_decisions_evaluated_total\{tenant="default"\}`: 1, `mandate_decisions_differing_total\{tenant="default"\}`: 0,
		} {
			found := regexp.MustCompile(`(?m)^` + metric + ` (\S+)$`).FindSubmatch([]byte(a.body))
			if found == nil {
				t.Errorf("%s is missing", metric)
				continue
			}
			if n, err := strconv.ParseFloat(string(found[1]), 64); err != nil || n < least {
				t.Errorf("%s is %s, want %v or more", metric, found[1], least)
			}
		}
	}
}
