package authn

import (
	"crypto/x509"
	"reflect"
	"testing"

	"mandate/directory"
)

// TestAllThatIsPresentedIsTheQuestion: what is remembered for one request must never be found by another one, so each field
// of Presented changes the question who it is, and no two do it alike. Only Address does not: passwords alone are judged by it, and
// what rests on one is never remembered.
func TestAllThatIsPresentedIsTheQuestion(t *testing.T) {
	secret := directory.NewSecret("x")
	certificate := func(der string) *x509.Certificate { return &x509.Certificate{Raw: []byte(der)} }
	values := map[reflect.Type][]any{
		reflect.TypeFor[string]():              {"x", "y", "xx"},
		reflect.TypeFor[bool]():                {true},
		reflect.TypeFor[BasicMeaning]():        {BasicClient, BasicUser},
		reflect.TypeFor[directory.Secret]():    {secret, directory.NewSecret("xx")},
		reflect.TypeFor[[]string]():            {[]string{"x"}, []string{""}, []string{"x", "x"}, []string{"xx"}},
		reflect.TypeFor[[]BodyProblem]():       {[]BodyProblem{"x"}, []BodyProblem{"x", "x"}},
		reflect.TypeFor[[]Pair]():              {[]Pair{{ID: secret}}, []Pair{{Secret: secret}}, []Pair{{secret, secret}}, []Pair{{secret, secret}, {}}},
		reflect.TypeFor[[]*x509.Certificate](): {[]*x509.Certificate{certificate("x")}, []*x509.Certificate{certificate("x"), certificate("x")}},
	}
	questions := map[string]string{string(Presented{}.appendTo(nil)): "nothing"}
	all := reflect.TypeFor[Presented]()
	for i := range all.NumField() {
		field := all.Field(i)
		if field.Name == "Address" {
			continue
		}
		if len(values[field.Type]) == 0 {
			t.Fatalf("%s: add values of the type %s to this test", field.Name, field.Type)
		}
		for _, value := range values[field.Type] {
			var p Presented
			reflect.ValueOf(&p).Elem().Field(i).Set(reflect.ValueOf(value))
			question := string(p.appendTo(nil))
			if other, taken := questions[question]; taken {
				t.Errorf("%s = %v asks the same as %s", field.Name, value, other)
			}
			questions[question] = field.Name
		}
	}
}
