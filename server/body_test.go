package server_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// AZ-08, AZ-09, AZ-56 to AZ-59: bodies that parsers are known to read differently.
func TestHostileBodies(t *testing.T) {
	s := start(t)
	gateway := holdersOf(t, "default").key("gateway")
	const rest = `"action":{"name":"documents:read"},"resource":{"type":"document","id":"r","properties":{"org":"acme"}}`
	const bob, alice = `{"type":"user","id":"bob"}`, `{"type":"user","id":"alice"}`
	inContext := func(value string) string { return `{"subject":` + bob + `,` + rest + `,"context":{"x":` + value + `}}` }
	nested := func(levels int, open, end string) string {
		return inContext(strings.Repeat(open, levels) + "1" + strings.Repeat(end, levels))
	}
	for _, row := range []struct{ rule, body, want string }{
		{"AZ-08 an array", "[" + good + "]", "bad request"},
		{"AZ-08 a string", `"x"`, "bad request"},
		{"AZ-08 null", `null`, "bad request"},
		{"AZ-08 a number", `1`, "bad request"},
		{"AZ-08 true", `true`, "bad request"},
		{"AZ-08 two objects", good + good, "bad request"},
		{"AZ-08 two objects on two lines", good + "\n" + good, "bad request"},
		{"AZ-08 an object and a word", good + " true", "bad request"},
		{"AZ-08 an object and a NUL", good + "\x00", "bad request"},
		{"AZ-08 an object and a comma", good + ",", "bad request"},
		{"AZ-09 empty", "", "bad request"},
		{"AZ-09 spaces", " \t\r\n", "bad request"},
		{"AZ-09 only opened", `{`, "bad request"},
		{"AZ-09 cut short", good[:len(good)-1], "bad request"},
		{"AZ-09 a trailing comma", good[:len(good)-1] + ",}", "bad request"},
		{"AZ-09 a comment", "/* x */" + good, "bad request"},
		{"AZ-09 single quotes", strings.ReplaceAll(good, `"`, `'`), "bad request"},
		{"AZ-09 NaN", inContext("NaN"), "bad request"},
		{"AZ-09 Infinity", inContext("-Infinity"), "bad request"},
		{"AZ-09 a hexadecimal number", inContext("0x10"), "bad request"},
		{"AZ-09 a number with a leading zero", inContext("01"), "bad request"},
		{"AZ-09 a raw line break in a string", inContext("\"a\nb\""), "bad request"},
		{"AZ-09 an unknown escape", inContext(`"\x41"`), "bad request"},
		{"AZ-09 spaces around it are fine", " \r\n\t" + good + "\n", "allow"},
		{"AZ-56 a name twice", `{"subject":` + bob + `,"subject":` + bob + `,` + rest + `}`, "bad request"},
		{"AZ-56 a name twice, first the weaker", `{"subject":` + bob + `,` + rest + `,"subject":` + alice + `}`, "bad request"},
		{"AZ-56 a name twice after unescaping", `{"subject":` + bob + `,` + rest + `,"\u0073ubject":` + alice + `}`, "bad request"},
		{"AZ-56 a name twice after unescaping, in capitals", `{"subject":` + bob + `,` + rest + `,"subj\u0065\u0063\u0074":` + alice + `}`, "bad request"},
		{"AZ-56 an id twice", `{"subject":{"type":"user","id":"bob","id":"alice"},` + rest + `}`, "bad request"},
		{"AZ-56 twice in unknown members", inContext(`{"a":1,"a":2}`), "bad request"},
		{"AZ-56 twice deep in an array", inContext(`[[{"a":{"b":1,"\u0062":1}}]]`), "bad request"},
		{"AZ-56 a surrogate pair equals its character", inContext(`{"🙂":1,"\ud83d\ude42":2}`), "bad request"},
		{"AZ-57 invalid UTF-8", inContext("\"\xff\""), "bad request"},
		{"AZ-57 invalid UTF-8 in an id", strings.Replace(good, "bob", "bob\xff", 1), "bad request"},
		{"AZ-57 invalid UTF-8 in a name", inContext("{\"a\xc3\x28\":1}"), "bad request"},
		{"AZ-57 an overlong NUL", inContext("\"\xc0\x80\""), "bad request"},
		{"AZ-57 a surrogate in UTF-8", inContext("\"\xed\xa0\x80\""), "bad request"},
		{"AZ-57 beyond Unicode", inContext("\"\xf4\x90\x80\x80\""), "bad request"},
		{"AZ-57 a lone high surrogate", inContext(`"\ud800"`), "bad request"},
		{"AZ-57 a lone low surrogate", inContext(`"\udc00"`), "bad request"},
		{"AZ-57 surrogates in the wrong order", inContext(`"\udc00\ud800"`), "bad request"},
		{"AZ-57 a lone surrogate in a name", inContext(`{"\ud800":1}`), "bad request"},
		{"AZ-57 a byte order mark", "\xef\xbb\xbf" + good, "bad request"},
		{"AZ-57 UTF-16", "\xff\xfe{\x00}\x00", "bad request"},
		{"AZ-57 a number too large", inContext("1e400"), "bad request"},
		{"AZ-57 a number too negative", inContext("-1e400"), "bad request"},
		{"AZ-57 a number with a huge exponent", inContext("1e999999999"), "bad request"},
		{"AZ-57 a number too small", inContext("1e-400"), "bad request"},
		{"AZ-57 a number of 2,000 digits", inContext(strings.Repeat("9", 2000)), "bad request"},
		{"AZ-57 a number of 2,000 decimals", inContext("0." + strings.Repeat("1", 2000)), "bad request"},
		{"AZ-57 zero with a huge exponent", inContext("0e-999999999"), "bad request"},
		{"AZ-57 the largest double", inContext("1.7976931348623157e308"), "allow"},
		{"AZ-57 the smallest double", inContext("5e-324"), "allow"},
		{"AZ-57 zero", inContext("[0,-0,0.0,0e0,0e10]"), "allow"},
		{"AZ-57 a surrogate pair", inContext(`"\ud83d\ude42"`), "allow"},
		{"AZ-58 100,000 levels of arrays", nested(100_000, "[", "]"), "bad request"},
		{"AZ-58 100,000 levels of objects", nested(100_000, `{"a":`, "}"), "bad request"},
		{"AZ-58 100,000 levels, never closed", strings.Repeat("[", 100_000), "bad request"},
		{"AZ-58 100,000 objects, never closed", strings.Repeat(`{"a":`, 100_000), "bad request"},
		{"AZ-58 65 levels", nested(65, "[", "]"), "bad request"},
		{"AZ-58 60 levels", nested(60, "[", "]"), "allow"},
		{"AZ-58 100,000 members", inContext(`{` + manyMembers(50_000) + `}`), "allow"},
		{"AZ-58 one body of 1 MiB", inContext(`"` + strings.Repeat("x", bodyLimit-len(inContext(`""`))) + `"`), "allow"},
		{"AZ-59 Subject", `{"Subject":` + bob + `,` + rest + `}`, "bad request"},
		{"AZ-59 SUBJECT", `{"SUBJECT":` + bob + `,` + rest + `}`, "bad request"},
		{"AZ-59 ſubject, the long s", `{"ſubject":` + bob + `,` + rest + `}`, "bad request"},
		{"AZ-59 the kelvin sign", strings.Replace(good, `"subject"`, `"subjecK"`, 1), "bad request"},
		{"AZ-59 subject with NUL", `{"subject\u0000":` + bob + `,` + rest + `}`, "bad request"},
		{"AZ-59 subject with a space", `{"subject ":` + bob + `,` + rest + `}`, "bad request"},
		{"AZ-59 Subject beside subject changes nothing", `{"subject":` + bob + `,` + rest + `,"Subject":` + alice + `}`, "allow"},
		{"AZ-59 ſubject first changes nothing", `{"ſubject":1,"SUBJECT":2,"subject\u0000":3,"subject":` + bob + `,` + rest + `}`, "allow"},
		{"AZ-59 an escaped name is the name", `{"\u0073ubject":` + bob + `,` + rest + `}`, "allow"},
		{"AZ-59 ID is not id", `{"subject":{"type":"user","ID":"bob"},` + rest + `}`, "bad request"},
		{"AZ-59 TYPE beside type changes nothing", `{"subject":{"TYPE":7,"type":"user","Id":"alice","id":"bob"},` + rest + `}`, "allow"},
		{"AZ-59 Properties is not properties", `{"subject":` + bob + `,"action":{"name":"documents:read"},"resource":{"type":"document","id":"r","Properties":{"org":"acme"}}}`, "deny"},
		{"AZ-59 Org is not org", `{"subject":` + bob + `,"action":{"name":"documents:read"},"resource":{"type":"document","id":"r","properties":{"Org":"acme"}}}`, "deny"},
		{"AZ-59 Authorization is not authorization", question(`{"type":"credential","id":"authorization","properties":{"Authorization":"Bearer x"}}`, "documents:read", "r"), "bad request"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			for _, path := range []string{evaluationPath, evaluationsPath} {
				if a := s.ask(t, gateway, path, row.body); a.verdict() != row.want {
					t.Errorf("%s: want %s, got %.200v", path, row.want, a)
				}
			}
			if a := s.ask(t, bearer("nobody"), evaluationPath, row.body); a.status != http.StatusUnauthorized {
				t.Errorf("AZ-17: a stranger learns of the body: %.200v", a)
			}
		})
	}
	if log := s.log.String(); strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("what a caller sent is no error of the service:\n%.2000s", log)
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":%d,`, i, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// AZ-58: bodies larger than the limit are refused before they have arrived, however they come.
func TestBodyLimit(t *testing.T) {
	s := start(t)
	gateway := strings.Join(holdersOf(t, "default").key("gateway"), "\r\n")
	head := "POST " + evaluationPath + " HTTP/1.1\r\nHost: x.example\r\nContent-Type: application/json\r\n" + gateway + "\r\n"
	for _, row := range []struct{ rule, text string }{
		{"one byte more than 1 MiB", head + fmt.Sprintf("Content-Length: %d\r\n\r\n{", bodyLimit+1)},
		{"40 MB announced", head + "Content-Length: 40000000\r\n\r\n{"},
		{"2 GiB announced", head + "Content-Length: 2147483648\r\n\r\n{"},
		{"2 MiB in one chunk", head + "Transfer-Encoding: chunked\r\n\r\n200000\r\n" + strings.Repeat(" ", 2<<20) + "\r\n0\r\n\r\n"},
		{"2 MiB in small chunks", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat(" ", 4096)+"\r\n", 512) + "0\r\n\r\n"},
	} {
		if a := s.raw(t, row.text); a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %v", row.rule, a)
		}
	}
}

// A compressed body could unfold to any size, also at the token endpoint, where nobody has authenticated yet.
func TestCompressedBodiesAreRefused(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	zip := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write([]byte(text))
		must(t, err)
		must(t, w.Close())
		return b.String()
	}
	const form = "Content-Type: application/x-www-form-urlencoded"
	for _, row := range []struct {
		rule, path, body string
		lines            credential
	}{
		{"an evaluation", evaluationPath, zip(good), append(h.key("gateway"), jsonType)},
		{"evaluations", evaluationsPath, zip(good), append(h.key("gateway"), jsonType)},
		{"a data query", "/v1/data/mandate/access", zip(`{"input":{}}`), append(h.key("gateway"), jsonType)},
		{"an explanation", "/v1/explain", zip(good), append(h.pair("tenant-admin"), jsonType)},
		{"a token request", tokenPath, zip("grant_type=client_credentials"), append(h.client("operator"), form)},
		{"a token request in JSON", "/oauth/token", zip(`{"grant_type":"client_credentials"}`), append(h.client("operator"), jsonType)},
		{"8 MiB in 8 KiB", tokenPath, zip(strings.Repeat("a", 8<<20)), credential{form}},
	} {
		for _, coding := range []string{"gzip", "br", "deflate", "x-unknown", "gzip, gzip", "GZIP"} {
			a := s.send(t, "POST", row.path, row.body, append(row.lines[:len(row.lines):len(row.lines)], "Content-Encoding: "+coding)...)
			if a.status != http.StatusUnsupportedMediaType {
				t.Errorf("%s in %s: want 415, got %d %v", row.rule, coding, a.status, a)
			}
		}
	}
	if a := s.ask(t, h.key("gateway"), evaluationPath, good, "Content-Encoding: identity"); a.verdict() != "allow" {
		t.Errorf("identity is no coding: %v", a)
	}
}

// Two readings of where a body ends are how requests are smuggled past a proxy.
func TestAmbiguousFraming(t *testing.T) {
	s := start(t)
	gateway := strings.Join(holdersOf(t, "default").key("gateway"), "\r\n")
	head := "POST " + evaluationPath + " HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\nContent-Type: application/json\r\n" + gateway + "\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(good))
	chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n", len(good), good)
	for _, row := range []struct{ rule, text string }{
		{"a negative length", head + "Content-Length: -1\r\n\r\n" + good},
		{"a length that is no number", head + "Content-Length: 2a\r\n\r\n{}"},
		{"a space before the colon", strings.Replace(head, "Authorization:", "Authorization :", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(good), good)},
		{"chunks that are none", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"},
		{"no HTTP at all", "hello\r\n\r\n"},
		{"two lengths", head + length + "Content-Length: 5\r\n\r\n" + good},
		{"two lengths, the right one last", head + "Content-Length: 5\r\n" + length + "\r\n" + good},
		{"a length beside chunks", head + length + "Transfer-Encoding: chunked\r\n\r\n" + chunks + "\r\n"},
		{"an unknown transfer coding", head + "Transfer-Encoding: xchunked\r\n\r\n" + chunks + "\r\n"},
		{"two hosts", strings.Replace(head, "Host:", "Host: y.example\r\nHost:", 1) + length + "\r\n" + good},
		{"no host", strings.Replace(head, "Host: x.example\r\n", "", 1) + length + "\r\n" + good},
		{"a folded line", head + "X-A: b\r\n c\r\n" + length + "\r\n" + good},
		{"a space before the colon of the length", head + strings.Replace(length, ":", " :", 1) + "\r\n" + good},
		{"a credential in a trailer", strings.Replace(head, gateway, "Trailer: Authorization", 1) + "Transfer-Encoding: chunked\r\n\r\n" + chunks + gateway + "\r\n\r\n"},
	} {
		if a := s.raw(t, row.text); a.status < 400 || a.status >= 500 {
			t.Errorf("%s: %d %v", row.rule, a.status, a)
		}
	}
}
