package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
)

// maskedBy is the example set with the rules of a mask.
func maskedBy(t testing.TB, rules string) *PolicySet {
	t.Helper()
	files := accessPolicy(`decision := {"allow": input.resource.id != "vault", "reasons": [{"code": "asked", "message": "for alice"}],
		"obligations": [{"type": "notify", "to": "alice@acme.example"}]} if not data.custom.closed`)
	if rules != "" {
		files["mask.rego"] = &fstest.MapFile{Data: []byte("package mandate.log\n" + rules)}
	}
	return compiled(t, files)
}

// logged decides, or notes, and returns the only record.
func logged(t *testing.T, o Options, do func(e *Engine)) decisionlog.Record {
	t.Helper()
	folder := t.TempDir()
	log, err := decisionlog.Open(folder, decisionlog.Options{Tenant: string(tenant)})
	if err != nil {
		t.Fatal(err)
	}
	o.Log = log
	do(New(tenant, nil, o))
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	var found []decisionlog.Record
	for r, err := range decisionlog.Read(t.Context(), folder, 0) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, r)
	}
	if len(found) != 1 {
		t.Fatalf("%d records", len(found))
	}
	return found[0]
}

const maskInputText = `{"action":{"name":"read"},"context":{"ips":["192.0.2.1","192.0.2.2","192.0.2.3"],"n":12345678901234567890,"ssn":"078-05-1120","user":{"a/b":"x","m~n":"y"}},` +
	`"resource":{"id":"plan"}}`

func TestMasks(t *testing.T) {
	all := []string{`"input"`, "for", "obligations", "footprint"}
	for name, row := range map[string]struct {
		rules          string
		erased, masked string
		gone, there    string // texts of the record, between spaces
		failed         bool
	}{
		"no mask":             {rules: ``, there: `078-05-1120 12345678901234567890 alice@acme.example`},
		"an empty set":        {rules: `mask contains "/input" if false`, there: `078-05-1120`},
		"erased":              {rules: `mask contains "/input/context/ssn"`, erased: `/input/context/ssn`, gone: `078-05-1120 ssn`, there: `12345678901234567890 "read"`},
		"absent":              {rules: `mask contains "/input/context/none/deeper"`, there: `078-05-1120`},
		"a member of a text":  {rules: `mask contains "/input/context/ssn/deeper"`, there: `078-05-1120`},
		"by an object":        {rules: `mask contains {"op": "remove", "path": "/input/context/ssn"}`, erased: `/input/context/ssn`, gone: `078-05-1120`},
		"replaced":            {rules: `mask contains {"op": "upsert", "path": "/input/context/ssn", "value": "***"}`, masked: `/input/context/ssn`, gone: `078-05-1120`, there: `"ssn":"***"`},
		"made":                {rules: `mask contains {"op": "upsert", "path": "/input/labels/zone", "value": "eu"}`, masked: `/input/labels/zone`, there: `"labels":{"zone":"eu"}`},
		"escaped":             {rules: `mask contains ["/input/context/user/a~1b", "/input/context/user/m~0n"][_]`, erased: `/input/context/user/a~1b /input/context/user/m~0n`, gone: `"x" "y"`},
		"elements":            {rules: `mask contains ["/input/context/ips/0", "/input/context/ips/1"][_]`, erased: `/input/context/ips/0 /input/context/ips/1`, gone: `192.0.2.1 192.0.2.2`, there: `192.0.2.3`},
		"no such element":     {rules: `mask contains ["/input/context/ips/3", "/input/context/ips/-1", "/input/context/ips/00"][_]`, there: `192.0.2.1`},
		"the whole input":     {rules: `mask contains "/input"`, erased: `/input`, gone: `context resource`, there: `alice@acme.example`},
		"of the result":       {rules: `mask contains ["/result/obligations/0/to", "/result/reasons/0/message"][_]`, erased: `/result/obligations/0/to /result/reasons/0/message`, gone: `alice`, there: `notify asked`},
		"the footprint":       {rules: `mask contains "/footprint"`, erased: `/footprint`, gone: `footprint closed`},
		"sees what it masks":  {rules: `mask contains "/input/context/ssn" if { input.path == "mandate/access/decision"; input.result.allow; input.input.action.name == "read" }`, erased: `/input/context/ssn`, gone: `078-05-1120`},
		"cannot allow":        {rules: `mask contains {"op": "upsert", "path": "/result/allow", "value": false}`, masked: `/result/allow`, there: `"allow":true`},
		"cannot be no result": {rules: `mask contains {"op": "upsert", "path": "/result", "value": 7}`, masked: `/result`, there: `"allow":true`, gone: `asked`, failed: true},
		"no list of reasons":  {rules: `mask contains {"op": "upsert", "path": "/result/reasons", "value": "none"}`, masked: `/result/reasons`, gone: `asked`, there: `078-05-1120`, failed: true},
		"a wrong op":          {rules: `mask contains {"op": "encrypt", "path": "/input/context/ssn"}`, gone: `078-05-1120`, there: `192.0.2.1`, failed: true},
		"a wrong member":      {rules: `mask contains {"op": "upsert", "path": "/input/context/ssn", "val": 1}`, gone: `078-05-1120`, there: `192.0.2.1`, failed: true},
		"no pointer":          {rules: `mask contains "input/context/ssn"`, gone: strings.Join(all, " "), there: `asked`, failed: true},
		"no good pointer":     {rules: `mask contains "/input/a~2b"`, gone: strings.Join(all, " "), failed: true},
		"another part":        {rules: `mask contains "/allow"`, gone: strings.Join(all, " "), failed: true},
		"no set":              {rules: `mask := {"a": 1}`, gone: strings.Join(all, " "), failed: true},
		"no pointers":         {rules: `mask contains 1`, gone: strings.Join(all, " "), failed: true},
		"in conflict":         {rules: "mask := [\"/input\"]\nmask := [\"/result\"] if input.path", gone: strings.Join(all, " "), failed: true},
		"too many":            {rules: `mask contains sprintf("/input/%d", [n]) if some n in numbers.range(1, 1001)`, gone: strings.Join(all, " "), failed: true},
		"too slow":            {rules: `mask contains "/input" if count([1 | numbers.range(1, 5000)[_] == numbers.range(1, 5000)[_]]) > 0`, gone: strings.Join(all, " "), failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, exampleFacts())
			set := maskedBy(t, row.rules)
			limit := time.Minute
			if name == "too slow" {
				limit = 50 * time.Millisecond
			}
			r := logged(t, Options{EvaluationLimit: limit}, func(e *Engine) {
				d, err := e.Decide(t.Context(), memo.Over(v), set, Access, []byte(maskInputText))
				if err != nil || !d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Message != "for alice" || !strings.Contains(string(d.Obligations), "alice@acme.example") {
					t.Errorf("the answer is %+v, %v", d, err)
				}
			})
			d := r.Description
			if erased, masked := strings.Join(d.Erased, " "), strings.Join(d.Masked, " "); erased != row.erased || masked != row.masked || d.MaskFailed != row.failed {
				t.Errorf("erased %s, masked %s, failed %t", erased, masked, d.MaskFailed)
			}
			if !r.Allow || !d.Allow {
				t.Error("the record does not say that it was allowed")
			}
			d.Erased, d.Masked = nil, nil
			text, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			for gone := range strings.FieldsSeq(row.gone) {
				if strings.Contains(string(text), gone) {
					t.Errorf("%s is in %s", gone, text)
				}
			}
			for there := range strings.FieldsSeq(row.there) {
				if !strings.Contains(string(text), there) {
					t.Errorf("%s is not in %s", there, text)
				}
			}
		})
	}
}

// A mask does not keep a decision from being remembered, and what it reads is noticed when it changes.
func TestMasksAreRemembered(t *testing.T) {
	for name, row := range map[string]struct {
		rules     string
		evaluated uint64
	}{
		"none":                    {``, 1},
		"that uses the time":      {`mask contains "/input" if time.now_ns() > 0`, 1},
		"that fails":              {`mask contains 1`, 1},
		"that reads what changes": {`mask contains "/input" if data.custom.log.hide`, 2},
	} {
		set := maskedBy(t, row.rules)
		store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		m := memo.New(store, memo.Options{Bytes: 1 << 20})
		folder := t.TempDir()
		log, err := decisionlog.Open(folder, decisionlog.Options{Tenant: string(tenant)})
		if err != nil {
			t.Fatal(err)
		}
		e := New(tenant, set, Options{EvaluationLimit: time.Minute, Log: log})
		for n := range 3 {
			if n == 2 {
				_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
					return tx.Put(tenant.Path("custom", "log"), []byte(`{"hide":true}`))
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			r := m.Begin()
			if d, err := e.Decide(t.Context(), r, set, Access, []byte(maskInputText)); err != nil || !d.Allow {
				t.Fatal(d, err)
			}
			r.End()
		}
		if n := e.Checks().Evaluated; n != row.evaluated {
			t.Errorf("%s: %d evaluations, want %d", name, n, row.evaluated)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		var inputs []bool
		for r, err := range decisionlog.Read(t.Context(), folder, 0) {
			if err != nil {
				t.Fatal(err)
			}
			inputs = append(inputs, r.Description.Input != nil)
		}
		if row.evaluated == 2 && !slices.Equal(inputs, []bool{true, true, false}) {
			t.Errorf("%s: inputs are in the records: %v", name, inputs)
		}
	}
}

func TestNotesAreMasked(t *testing.T) {
	set := maskedBy(t, "mask contains \"/input/address\" if input.path == \"mandate/authentication\"\nmask contains \"/input/jti\" if input.kind == \"token\"\n"+
		`mask contains {"op": "upsert", "path": "/input/n", "value": 1} if input.input.credential == "odd"`)
	for name, row := range map[string]struct {
		note    decisionlog.Description
		details string
		failed  bool
	}{
		"an authentication": {decisionlog.Description{Kind: decisionlog.Authentication, Details: map[string]string{"address": "192.0.2.1", "credential": "password"}},
			"map[credential:password]", false},
		"a token": {decisionlog.Description{Kind: decisionlog.Token, Allow: true, Details: map[string]string{"address": "192.0.2.1", "jti": "1"}},
			"map[address:192.0.2.1]", false},
		"details that are no texts": {decisionlog.Description{Kind: decisionlog.Token, Details: map[string]string{"credential": "odd"}}, "map[]", true},
	} {
		r := logged(t, patient(), func(e *Engine) {
			reading := memo.Over(viewOf(t, nil))
			e.Note(context.Background(), reading, set, row.note)
		})
		if got := fmt.Sprint(r.Description.Details); got != row.details || r.Description.MaskFailed != row.failed || r.Allow != row.note.Allow {
			t.Errorf("%s: %s %+v", name, got, r)
		}
	}
}

// The masks of the example, whose own tests are run as those of a policy set.
func TestExampleMasks(t *testing.T) {
	files := accessPolicy(`decision := {"allow": true}`)
	for _, name := range []string{"mask.rego", "mask_test.rego"} {
		text, err := os.ReadFile(filepath.Join("testdata/masks", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	set := compiled(t, files)
	v := viewOf(t, map[string]string{"custom/decision_log": `{"erase":["/input/resource/id"]}`})
	r := logged(t, patient(), func(e *Engine) {
		if d, err := e.Decide(t.Context(), memo.Over(v), set, Access,
			[]byte(`{"action":{"name":"read"},"context":{"ip":"192.0.2.1","ssn":"078-05-1120"},"resource":{"id":"plan"}}`)); err != nil || !d.Allow {
			t.Error(d, err)
		}
	})
	if want := `{"action":{"name":"read"},"context":{"ip":"hidden"},"resource":{}}`; string(r.Description.Input) != want || r.Description.MaskFailed {
		t.Errorf("the record has %s", r.Description.Input)
	}
}
