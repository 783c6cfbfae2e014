package server_test

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// browser is a person's: it keeps cookies, follows redirects within the server, and fills in forms.
type browser struct {
	t    testing.TB
	s    *running
	http *http.Client
}

// tunnel leads what is for the public URL to the socket of the test.
type tunnel struct{ to *url.URL }

func (x tunnel) RoundTrip(r *http.Request) (*http.Response, error) {
	moved := r.Clone(r.Context())
	moved.URL.Scheme, moved.URL.Host = x.to.Scheme, x.to.Host
	return connections.Transport.RoundTrip(moved)
}

func (s *running) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	to, err := url.Parse(s.url)
	must(t, err)
	return &browser{t, s, &http.Client{Transport: tunnel{to}, Jar: jar, Timeout: connections.Timeout, CheckRedirect: connections.CheckRedirect}}
}

// element is a node of a page.
type element struct {
	name     string
	attr     map[string]string
	text     string // with that of all that is in it
	children []*element
}

// all are the elements of those names, in the order of the page.
func (e *element) all(names ...string) []*element {
	var found []*element
	for _, child := range e.children {
		if slices.Contains(names, child.name) {
			found = append(found, child)
		}
		found = append(found, child.all(names...)...)
	}
	return found
}

// screen is what a browser shows, or, with left, where it was sent away from the server.
type screen struct {
	answer
	b    *browser
	root *element
	left *url.URL
	hops []answer // the redirects on the way
}

func parsePage(t testing.TB, page string) *element {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(page))
	decoder.Strict, decoder.Entity = false, xml.HTMLEntity
	stack := []*element{{}}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attr: map[string]string{}}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			last := stack[len(stack)-1]
			last.children = append(last.children, e)
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			for _, e := range stack {
				e.text += string(token)
			}
		}
	}
	return stack[0]
}

func (b *browser) do(method, to, form string, lines ...string) answer {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, to, strings.NewReader(form))
	must(b.t, err)
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	seen.request(request.Header, form)
	response, err := b.http.Do(request)
	must(b.t, err)
	return read(b.t, response)
}

// visit makes a request and goes where the answers lead.
func (b *browser) visit(method, path, form string, lines ...string) *screen {
	b.t.Helper()
	to := path
	if strings.HasPrefix(path, "/") {
		to = publicURL + path
	}
	shown := &screen{b: b, answer: b.do(method, to, form, lines...)}
	for shown.header.Get("Location") != "" {
		if len(shown.hops) == 10 {
			b.t.Fatalf("a circle of redirects from %s %s", method, path)
		}
		shown.hops = append(shown.hops, shown.answer)
		base, err := url.Parse(to)
		must(b.t, err)
		next, err := base.Parse(shown.header.Get("Location"))
		must(b.t, err)
		if next.Scheme+"://"+next.Host != publicURL {
			shown.left = next
			return shown
		}
		to = next.String()
		shown.answer = b.do(http.MethodGet, to, "")
	}
	if strings.HasPrefix(shown.header.Get("Content-Type"), "text/html") {
		shown.root = parsePage(b.t, shown.body)
	}
	return shown
}

func (b *browser) get(path string) *screen {
	b.t.Helper()
	return b.visit(http.MethodGet, path, "")
}

// title is the heading of the page.
func (p *screen) title() string {
	if p.root == nil {
		return p.body
	}
	if found := p.root.all("h1"); len(found) == 1 {
		return found[0].text
	}
	return ""
}

// problem is the text of what the page alerts of.
func (p *screen) problem() string {
	for _, e := range p.root.all("p") {
		if e.attr["role"] == "alert" {
			return e.text
		}
	}
	return ""
}

// form is the path and the fields of the form with that button, with the button's own.
func (p *screen) form(button string) (string, url.Values) {
	p.b.t.Helper()
	if p.root == nil {
		p.b.t.Fatalf("no page with the button %s: %d %s %v", button, p.status, p.body, p.left)
	}
	for _, form := range p.root.all("form") {
		for _, b := range form.all("button") {
			if b.text != button {
				continue
			}
			fields := url.Values{}
			for _, input := range form.all("input") {
				if input.attr["type"] != "radio" {
					fields.Set(input.attr["name"], input.attr["value"])
				}
			}
			if b.attr["name"] != "" {
				fields.Set(b.attr["name"], b.attr["value"])
			}
			return form.attr["action"], fields
		}
	}
	p.b.t.Fatalf("the page has no button %s:\n%s", button, p.body)
	return "", nil
}

// press sends the form with that button, with the fields that the person fills in: name and value in turn.
func (p *screen) press(button string, filled ...string) *screen {
	p.b.t.Helper()
	action, fields := p.form(button)
	for at := 0; at < len(filled); at += 2 {
		fields.Set(filled[at], filled[at+1])
	}
	return p.b.visit(http.MethodPost, action, fields.Encode(), "Origin: null", "Sec-Fetch-Site: same-origin")
}

// signIn fills in the login pages.
func (p *screen) signIn(username, password string) *screen {
	p.b.t.Helper()
	return p.press("Continue", "username", username).press("Sign in", "password", password)
}

// login is a browser with a session of the user.
func (s *running) login(t testing.TB, username, password string) *browser {
	t.Helper()
	b := s.browser(t)
	if shown := b.get("/login").signIn(username, password); shown.title() != "Your account" {
		t.Fatalf("not signed in: %d %s", shown.status, shown.body)
	}
	return b
}

// cookie is the value of the cookie of that kind, of the default tenant.
func (b *browser) cookie(kind string) string {
	public, err := url.Parse(publicURL)
	must(b.t, err)
	for _, c := range b.http.Jar.Cookies(public) {
		if c.Name == "__Host-mandate-"+kind+"-default" {
			return c.Value
		}
	}
	return ""
}

// everyPage walks through all pages.
func everyPage(t testing.TB) map[string]*screen {
	t.Helper()
	s, mails := withMail(t)
	h := holdersOf(t, "default")
	shown := map[string]*screen{}
	b := s.browser(t)
	shown["error"] = b.get("/authorize?client_id=nobody")
	shown["login"] = b.get(asksFor("planner").path())
	shown["password"] = shown["login"].press("Continue", "username", "carol@acme.example")
	shown["wrong password"] = shown["password"].press("Sign in", "password", "wrong")
	shown["no username"] = shown["login"].press("Continue", "username", "")
	shown["consent"] = shown["wrong password"].press("Sign in", "password", h.secret("user carol"))
	shown["nothing chosen"] = shown["consent"].press("Allow", "org", "nowhere")
	shown["choice"] = b.get(asksFor("portal").path())
	shown["account, empty"] = b.get("/account")
	shown["consent"].press("Allow", "org", "acme")
	shown["account"] = b.get("/account")
	shown["consent, one organization"] = b.get(asksFor("planner").with("org", "acme", "prompt", "consent").path())
	shown["device"] = b.get("/device?user_code=BCDF-GHJK")
	shown["unknown device"] = shown["device"].press("Continue")
	shown["device consent"] = b.get("/device?user_code=" + s.deviceCode(t)).press("Continue")
	shown["device done"] = shown["device consent"].press("Deny")
	shown["logout"] = b.get("/logout")
	shown["signed out"] = shown["logout"].press("Sign out")
	shown["reset"] = b.get("/reset")
	shown["reset, no username"] = shown["reset"].press("Send a link", "username", "")
	shown["reset sent"] = shown["reset"].press("Send a link", "username", "rita")
	shown["new password"] = b.get(mails.link(t, "Rita@globex.example"))
	shown["new password, too short"] = shown["new password"].press("Set password", "new_password", "short")
	shown["reset done"] = shown["new password"].press("Set password", "new_password", "Rita's other password")
	return shown
}

// A page can be used with a keyboard and a screen reader (WCAG 2.2: 1.3.1, 2.4.2, 3.1.1, 3.3.1, 4.1.2), and has nothing in it
// that the Content-Security-Policy forbids.
func TestPagesAreAccessible(t *testing.T) {
	for name, p := range everyPage(t) {
		if p.root == nil {
			t.Errorf("%s: no page: %d %q, left for %v", name, p.status, p.body, p.left)
			continue
		}
		root := p.root
		if html := root.all("html"); len(html) != 1 || html[0].attr["lang"] != "en" {
			t.Errorf("%s: no language", name)
		}
		for _, once := range []string{"title", "h1", "main"} {
			if found := root.all(once); len(found) != 1 || strings.TrimSpace(found[0].text) == "" {
				t.Errorf("%s: %d of %s, want one", name, len(found), once)
			}
		}
		labels, ids := map[string]string{}, map[string]bool{}
		for _, e := range root.all("label") {
			labels[e.attr["for"]] = e.text
		}
		every := root.all("a", "button", "code", "div", "fieldset", "form", "h1", "h2", "h3", "input", "label", "legend", "li", "main", "p", "section", "ul")
		for _, e := range every {
			if id := e.attr["id"]; ids[id] {
				t.Errorf("%s: the id %s is there twice", name, id)
			} else if id != "" {
				ids[id] = true
			}
		}
		for _, e := range every {
			for _, reference := range []string{"aria-describedby", "aria-labelledby"} {
				for _, id := range strings.Fields(e.attr[reference]) {
					if !ids[id] {
						t.Errorf("%s: %s of %s is not there", name, reference, id)
					}
				}
			}
			for attr := range e.attr {
				if attr == "style" || strings.HasPrefix(attr, "on") {
					t.Errorf("%s: the attribute %s at %s", name, attr, e.name)
				}
			}
			if e.name == "input" && e.attr["type"] != "hidden" && labels[e.attr["id"]] == "" {
				t.Errorf("%s: no label for %s", name, e.attr["name"])
			}
			if e.name == "input" && e.attr["type"] == "password" && (e.attr["value"] != "" || e.attr["autocomplete"] != map[bool]string{true: "new-password", false: "current-password"}[e.attr["name"] == "new_password"]) {
				t.Errorf("%s: a password is filled in, or cannot be by a password manager", name)
			}
			if e.name == "fieldset" && len(e.all("legend")) != 1 {
				t.Errorf("%s: a fieldset without legend", name)
			}
		}
		if found := root.all("script", "style", "img", "iframe"); len(found) > 0 {
			t.Errorf("%s: has %s", name, found[0].name)
		}
		if (p.problem() != "") != (p.status != http.StatusOK || name == "nothing chosen") {
			t.Errorf("%s: status %d with the problem %q", name, p.status, p.problem())
		}
	}
}

func TestPagesHaveSafeHeaders(t *testing.T) {
	for name, p := range everyPage(t) {
		for _, a := range append(p.hops, p.answer) {
			for _, row := range []struct{ section, header, want string }{
				{"RFC 9700 §4.16 (SB-14)", "X-Frame-Options", "DENY"},
				{"RFC 9700 §4.2.4 (SB-15)", "Referrer-Policy", "no-referrer"},
				{"RFC 6749 §10.13", "X-Content-Type-Options", "nosniff"},
				{"RFC 9111 §5.2.2.5", "Cache-Control", "no-store"},
				{"RFC 9700 §2.6 (SB-19)", "Access-Control-Allow-Origin", ""},
			} {
				if got := a.header.Get(row.header); got != row.want {
					t.Errorf("%s, %s: %s is %q, want %q", name, row.section, row.header, got, row.want)
				}
			}
			policy := a.header.Get("Content-Security-Policy")
			for _, want := range []string{"default-src 'none'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
				if !slices.ContainsFunc(strings.Split(policy, "; "), func(d string) bool { return d == want || strings.HasPrefix(d, want+" ") }) {
					t.Errorf("%s: Content-Security-Policy %q is without %s", name, policy, want)
				}
			}
			if a.header.Get("Location") != "" && a.status != http.StatusSeeOther {
				t.Errorf("%s, RFC 9700 §4.12 (SB-13): a redirect with the status %d", name, a.status)
			}
		}
	}
}

// Browsers hold the redirect that answers a form to form-action, so a page of an authorization lets its form lead to the client.
func TestFormsMayLeadToTheClient(t *testing.T) {
	s := start(t)
	for _, row := range []struct{ client, redirectURI, want string }{
		{"planner", "https://planner.example/callback?from=mandate", "form-action 'self' https://planner.example;"},
		{"cli", "http://127.0.0.1:51004/callback", "form-action 'self' http://127.0.0.1:51004;"},
		{"cli", "com.example.cli:/callback", "form-action 'self' com.example.cli:;"},
		{"cli", "http://[::1]:4000/callback", "form-action 'self' http:;"},
	} {
		shown := s.browser(t).get(asksFor(row.client).with("redirect_uri", row.redirectURI).path())
		if policy := shown.header.Get("Content-Security-Policy"); shown.title() != "Sign in" || !strings.Contains(policy, row.want) {
			t.Errorf("%s: %d, policy %q, want %s", row.redirectURI, shown.status, policy, row.want)
		}
	}
	if policy := s.browser(t).get("/login").header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self';") {
		t.Errorf("a page of no authorization: policy %q", policy)
	}
}

func TestStylesheet(t *testing.T) {
	s := start(t)
	shown := s.browser(t).get("/t/staging/login")
	links := shown.root.all("link")
	if len(links) != 1 {
		t.Fatalf("%d links to style sheets", len(links))
	}
	style := s.send(t, "GET", links[0].attr["href"], "")
	if style.status != http.StatusOK || !strings.HasPrefix(style.header.Get("Content-Type"), "text/css") {
		t.Errorf("%s: %d %s", links[0].attr["href"], style.status, style.header.Get("Content-Type"))
	}
	for _, want := range []string{"prefers-color-scheme: dark", ":focus-visible"} {
		if !strings.Contains(style.body, want) {
			t.Errorf("the style sheet has no %s", want)
		}
	}
}

// What others have chosen is text on a page, never a part of it.
func TestPagesEscape(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const hostile = `"><script>alert(1)</script><b x='`
	b := s.browser(t)
	login := b.get(asksFor("planner").with("login_hint", hostile, "state", hostile).path())
	consent := login.signIn("carol@acme.example", h.secret("user carol"))
	for name, shown := range map[string]*screen{
		"login_hint":       login,
		"username":         login.press("Continue", "username", hostile),
		"client name":      consent,
		"organization":     consent.press("Allow", "org", hostile),
		"client_id":        b.get(asksFor("planner").with("client_id", hostile).path()),
		"redirect_uri":     b.get(asksFor("planner").with("redirect_uri", "https://planner.example/"+hostile).path()),
		"user code":        b.get("/device").press("Continue", "user_code", hostile),
		"user code, link":  b.get("/device?" + url.Values{"user_code": {hostile}}.Encode()),
		"continue":         b.get("/consent?" + url.Values{"continue": {hostile}}.Encode()),
		"request id":       b.visit("GET", "/consent", "", "X-Request-ID: "+hostile),
		"provider's error": b.get("/login/callback?" + url.Values{"error": {hostile}}.Encode()),
	} {
		if shown.root == nil {
			t.Errorf("%s: no page: %d %v", name, shown.status, shown.left)
			continue
		}
		if len(shown.root.all("script", "b")) > 0 || strings.Contains(shown.body, "<script") {
			t.Errorf("%s is a part of the page:\n%s", name, shown.body)
		}
	}
	if !strings.Contains(consent.title(), `Planner <b>& "Co"`) {
		t.Errorf("the name of the client is shown as %q", consent.title())
	}
	if strings.ContainsAny(consent.body, "\u202e\u200b") {
		t.Error("the name of the client has characters that turn the text around")
	}
}

// Forms of pages are read by the same rules as those of OAuth endpoints.
func TestFormsOfPages(t *testing.T) {
	s := start(t)
	for _, row := range []struct {
		name, more string
		status     int
	}{
		{"as it is", "&username=alice", http.StatusOK},
		{"a field twice", "&username=alice&username=bob", http.StatusBadRequest},
		{"not UTF-8", "&username=%ff%fe", http.StatusBadRequest},
		{"not form-encoded", "&username=%zz", http.StatusBadRequest},
		{"too large", "&username=" + strings.Repeat("x", 32<<10), http.StatusRequestEntityTooLarge},
	} {
		b := s.browser(t)
		action, fields := b.get("/login").form("Continue")
		fields.Del("username")
		if shown := b.visit("POST", action, fields.Encode()+row.more); shown.status != row.status {
			t.Errorf("%s: %d %s, want %d", row.name, shown.status, shown.title(), row.status)
		}
	}
}
