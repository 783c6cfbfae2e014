package server_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestMain looks, once all tests have run, for every secret, code and token that any of them sent or was given in the complete
// logs of all servers, which log at the most talkative level. It also tells what the OpenAPI document does not describe of all that
// was asked and answered.
func TestMain(m *testing.M) {
	status := m.Run()
	if leaks := seen.leaks(); len(leaks) > 0 {
		fmt.Fprintln(os.Stderr, "secrets in the logs of the whole suite:\n"+strings.Join(leaks, "\n"))
		status = 1
	}
	if problems := traffic.report(); len(problems) > 0 {
		fmt.Fprintln(os.Stderr, "traffic of the whole suite that the OpenAPI document does not describe:\n"+strings.Join(problems, "\n"))
		status = 1
	}
	os.Exit(status)
}

// seen is what the tests have sent and were given.
var seen = &sightings{secrets: map[string][]string{}}

type sightings struct {
	mu      sync.Mutex
	logs    []*logBuffer
	secrets map[string][]string // by their first characters
	count   int
}

// prefix is long enough that nothing else begins like a secret, or nearly nothing.
const prefix = 10

func (s *sightings) log(b *logBuffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, b)
}

func (s *sightings) secret(value string) {
	if len(value) <= prefix {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.secrets[value[:prefix]] {
		if known == value {
			return
		}
	}
	s.secrets[value[:prefix]] = append(s.secrets[value[:prefix]], value)
	s.count++
}

// request notes what a request presents: what is in its credential headers and its secret parameters.
func (s *sightings) request(header http.Header, body string) {
	for _, name := range []string{"Authorization", "X-Api-Key", "X-Api-Secret", "Dpop"} {
		for _, value := range header.Values(name) {
			scheme, credential, _ := strings.Cut(value, " ")
			if credential == "" {
				credential = scheme
			}
			s.secret(credential)
			if decoded, err := base64.StdEncoding.DecodeString(credential); err == nil {
				_, password, _ := strings.Cut(string(decoded), ":")
				s.secret(password)
			}
		}
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		return
	}
	for _, name := range []string{"client_secret", "client_assertion", "code", "code_verifier", "refresh_token", "device_code", "assertion", "subject_token",
		"actor_token", "token", "password", "new_password"} {
		for _, value := range form[name] {
			s.secret(value)
		}
	}
}

// answer notes what an answer gives away.
func (s *sightings) answer(a answer) {
	given := regexp.MustCompile(`"(?:access_token|refresh_token|id_token|device_code|client_secret)":"([^"]+)"`)
	for _, match := range given.FindAllStringSubmatch(a.body, -1) {
		s.secret(match[1])
	}
	if to, err := url.Parse(a.header.Get("Location")); err == nil {
		s.secret(to.Query().Get("code"))
	}
	for _, line := range a.header.Values("Set-Cookie") {
		_, value, _ := strings.Cut(line, "=")
		value, _, _ = strings.Cut(value, ";")
		s.secret(value)
	}
}

func (s *sightings) leaks() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var leaks []string
	for _, b := range s.logs {
		text := b.String()
		for i := 0; i+prefix <= len(text); i++ {
			for _, secret := range s.secrets[text[i:i+prefix]] {
				if strings.HasPrefix(text[i:], secret) {
					leaks = append(leaks, fmt.Sprintf("…%.300s", text[max(0, i-200):]))
				}
			}
		}
	}
	return leaks
}
