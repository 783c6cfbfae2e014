package engine

import (
	"testing"
	"testing/fstest"

	"mandate/datastore/memo"
)

func TestDataOfSets(t *testing.T) {
	policy := accessPolicy(`import data.team

decision := {"allow": allow, "reasons": reasons}

default allow := false

allow if team.limits.small < count(data.orgs.acme.members.alice.roles)

reasons contains {"code": name, "message": sprintf("%v", [value])} if some name, value in team.limits

reasons contains {"code": "list", "message": team.list[1]}

reasons contains {"code": "rule", "message": team.rule}

reasons contains {"code": "whole", "message": sprintf("%v", [object.keys(team)])}

reasons contains {"code": "absent", "message": "yes"} if not team.nothing`)
	policy["team.rego"] = &fstest.MapFile{Data: []byte("package team\nrule := \"beside data\"")}
	policy["team_test.rego"] = &fstest.MapFile{Data: []byte("package team_test\ntest_data if data.team.limits.small == 1")}
	inOne, apart := fstest.MapFS{}, fstest.MapFS{}
	for name, f := range policy {
		inOne[name], apart[name] = f, f
	}
	inOne["data.json"] = &fstest.MapFile{Data: []byte(`{"team": {"limits": {"small": 1, "large": 1e3}, "list": ["a", "b<&>"]}}`)}
	apart["team/data.json"] = &fstest.MapFile{Data: []byte(`{"list": ["a", "b<&>"]}`)}
	apart["team/limits/data.json"] = &fstest.MapFile{Data: []byte(`{"large": 1e3}`)}
	apart["team/limits/more/data.yml"] = &fstest.MapFile{}
	apart["data.yaml"] = &fstest.MapFile{Data: []byte("team:\n  limits:\n    small: 1\n")}

	set := compiled(t, inOne)
	if set.Unplanned() != nil {
		t.Fatal(set.Unplanned())
	}
	if other := compiled(t, apart); other.Revision() != set.Revision() {
		t.Errorf("the same data in other files is another set:\n%v\n%v", set.Files(), other.Files())
	}
	stored, err := CompileFiles(t.Context(), set.Files())
	if err != nil || stored.Revision() != set.Revision() {
		t.Error("its own files are another set:", err)
	}

	view := viewOf(t, map[string]string{"orgs/acme/members/alice": `{"roles": ["a", "b"]}`})
	const want = `"reasons":[{"code":"absent","message":"yes"},{"code":"large","message":"1000"},{"code":"list","message":"b<&>"},` +
		`{"code":"rule","message":"beside data"},{"code":"small","message":"1"},{"code":"whole","message":"{\"limits\", \"list\", \"rule\"}"}],`
	for _, byOPA := range []bool{false, true} {
		stored.distrusted.Store(byOPA)
		e := New(tenant, stored, patient())
		d, err := e.Decide(t.Context(), memo.Over(view), stored, Access, []byte(`{}`))
		if err != nil || !d.Allow {
			t.Error("not allowed:", d, err)
		}
		if says := string(d.AppendMembers(nil)); len(says) < len(want) || says[:len(want)] != want {
			t.Errorf("by OPA %v it says\n%s", byOPA, says)
		}
	}

	e := New(tenant, set, patient())
	for _, test := range []struct {
		path []string
		want string // "" where nothing is defined
	}{
		{[]string{"team", "limits"}, `{"large":1e3,"small":1}`},
		{[]string{"team", "list", "0"}, `"a"`},
		{[]string{"team", "list", "7"}, ""},
		{[]string{"team"}, `{"limits":{"large":1e3,"small":1},"list":["a","b\u003c\u0026\u003e"],"rule":"beside data"}`},
		{[]string{"other"}, ""},
	} {
		got, err := e.Query(t.Context(), memo.Over(view), set, test.path, nil)
		if err != nil || string(got.Result) != test.want {
			t.Errorf("data at %v is %s, not %s: %v", test.path, got.Result, test.want, err)
		}
	}
}

func TestEmptyData(t *testing.T) {
	fsys := accessPolicy(`decision := {"allow": true}`)
	without := compiled(t, fsys)
	fsys["data.json"] = &fstest.MapFile{Data: []byte("{}\n")}
	if compiled(t, fsys).Revision() != without.Revision() {
		t.Error("no data is data")
	}
}
