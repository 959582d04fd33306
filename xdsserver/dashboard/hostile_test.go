package dashboard

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

// What a page of another site can make the operator's browser send is refused, with the
// operator's cookie on it.
func TestRequestsOfOtherSitesAreRefused(t *testing.T) {
	s := open(t)
	s.enter(t)
	paths := map[string]string{ // and their methods
		"/": http.MethodGet, "/index.html": http.MethodGet, "/login?token=x": http.MethodGet, "/login.css": http.MethodGet,
		"/api/session": http.MethodGet, "/api/events": http.MethodGet, "/api/tap?service=voting": http.MethodGet,
		"/api/logout": http.MethodPost, methodPath + "List": http.MethodPost, methodPath + "Apply": http.MethodPost, "/api/nothing": http.MethodGet,
	}
	for name, change := range map[string]func(*http.Request){
		"another origin": func(r *http.Request) { r.Header.Set("Origin", "https://attacker.test") },
		"another origin that says it is this one": func(r *http.Request) {
			r.Header.Set("Origin", "https://attacker.test")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		},
		"two origins": func(r *http.Request) {
			r.Header["Origin"] = []string{s.url, "https://attacker.test"}
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		},
		"an origin that is hidden":          func(r *http.Request) { r.Header.Set("Origin", "null") },
		"this origin by another scheme":     func(r *http.Request) { r.Header.Set("Origin", "https"+strings.TrimPrefix(s.url, "http")) },
		"the same host by another port":     func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:9") },
		"the same site, by another port":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"another site, by fetch":            func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"another site, by a word of ours":   func(r *http.Request) { r.Header["Sec-Fetch-Site"] = []string{"same-origin", "cross-site"} },
		"a site that is called otherwise":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "SAME-ORIGIN") },
		"a frame of another site":           frame("iframe"),
		"an image of another site":          frame("image"),
		"another host's name (rebinding)":   func(r *http.Request) { r.Host = "attacker.test" },
		"another host's name with our port": func(r *http.Request) { r.Host = "127.0.0.1.attacker.test:18080" },
		"another machine's address":         func(r *http.Request) { r.Host = "10.0.0.1" },
		"no host":                           func(r *http.Request) { r.Host = "[]" },
	} {
		for path, method := range paths {
			r := get(t, s.url+path)
			if method == http.MethodPost {
				r = post(t, s.url+path, "{}")
			}
			r.Header.Del("Sec-Fetch-Site")
			change(r)
			if answer := s.do(t, r); answer.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %s %s got %s, want 403", name, method, path, answer.Status)
			}
		}
	}
	if s.sessions.find(s.cookieOf(t).Value, time.Now()) == nil {
		t.Error("one of them ended the session")
	}
}

func frame(dest string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", dest)
	}
}

func TestWhatNoPageOfOursSendsIsRefused(t *testing.T) {
	s := open(t)
	s.enter(t)
	for name, test := range map[string]struct {
		request *http.Request
		change  func(*http.Request)
		want    int
	}{
		"a call as a form sends it":              {post(t, s.url+methodPath+"Apply", "{}"), func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415},
		"a call without a type":                  {post(t, s.url+methodPath+"Apply", "{}"), func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		"a call as protobuf":                     {post(t, s.url+methodPath+"Apply", "{}"), func(r *http.Request) { r.Header.Set("Content-Type", "application/proto") }, 415},
		"a stream of the API":                    {post(t, s.url+methodPath+"Tap", "{}"), func(r *http.Request) { r.Header.Set("Content-Type", "application/connect+json") }, 415},
		"a call without our header":              {post(t, s.url+methodPath+"Apply", "{}"), func(r *http.Request) { r.Header.Del(requestHeader) }, 403},
		"a logout without our header":            {post(t, s.url+"/api/logout", ""), func(r *http.Request) { r.Header.Del(requestHeader) }, 403},
		"a call by GET":                          {get(t, s.url+methodPath+"List"), func(*http.Request) {}, 404},
		"a method that is none":                  {post(t, s.url+methodPath+"Nothing", "{}"), func(*http.Request) {}, 404},
		"a service that is none":                 {post(t, s.url+"/api/grpc.health.v1.Health/Check", "{}"), func(*http.Request) {}, 404},
		"a stream that a user types":             {get(t, s.url+"/api/events"), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }, 403},
		"a stream of no browser, without header": {get(t, s.url+"/api/events"), func(r *http.Request) { r.Header.Del("Sec-Fetch-Site") }, 403},
		"leave to cross origins": {get(t, s.url+"/api/session"), func(r *http.Request) {
			r.Method = http.MethodOptions
			r.Header.Set("Access-Control-Request-Method", "POST")
		}, 403},
		"a page that is written": {post(t, s.url+"/", "x"), func(*http.Request) {}, 405},
		"a query that is long":   {get(t, s.url+"/api/session?x="+strings.Repeat("x", maxQuery)), func(*http.Request) {}, 414},
	} {
		test.change(test.request)
		if answer := s.do(t, test.request); answer.StatusCode != test.want {
			t.Errorf("%s: got %s, want %d", name, answer.Status, test.want)
		}
	}
	// A program without a browser may use the API with the header.
	r := get(t, s.url+"/api/session")
	r.Header.Del("Sec-Fetch-Site")
	r.Header.Set(requestHeader, "1")
	if answer := s.do(t, r); answer.StatusCode != http.StatusOK {
		t.Errorf("a program: got %s, want 200", answer.Status)
	}
	// Others may link to the page.
	r = get(t, s.url+"/")
	frame("document")(r)
	if answer := s.do(t, r); answer.StatusCode != http.StatusOK {
		t.Errorf("a link to the page: got %s, want 200", answer.Status)
	}
	// And to a login, which goes on as a page of ours.
	r = get(t, s.address(t))
	frame("document")(r)
	if answer := s.do(t, r); answer.StatusCode != http.StatusOK || len(answer.cookies) != 1 || !strings.Contains(answer.text, "0;url=/") {
		t.Errorf("a link to a login: got %s", answer.Status)
	}
}

func TestEveryAnswerSaysWhatMayBeDoneWithIt(t *testing.T) {
	s := open(t)
	s.enter(t)
	evil := get(t, s.url+"/")
	evil.Host = "attacker.test"
	for _, r := range []*http.Request{
		get(t, s.url+"/"), get(t, s.url+"/nothing"), get(t, s.url+"/login"), get(t, s.url+"/api/session"), get(t, s.url+"/api/nothing"),
		post(t, s.url+methodPath+"List", "{}"), evil,
	} {
		h := s.do(t, r).Header
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", r.URL.Path, name, got, want)
			}
		}
	}
	for _, evil := range []string{"unsafe-inline", "unsafe-eval", "*", "http:", "https:"} {
		if strings.Contains(policy, evil) {
			t.Errorf("the policy has %s", evil)
		}
	}
}

// raw sends bytes, and reads the first line of what comes.
func raw(t *testing.T, s *site, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, request) // it may be cut off in the middle
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && line == "" {
		return "closed"
	}
	return strings.TrimSpace(line)
}

func TestPathsLeadToNoOtherFile(t *testing.T) {
	s := open(t)
	s.enter(t)
	cookie := s.cookieOf(t).String()
	for _, path := range []string{
		"/../static.go", "/assets/../../static.go", "/..%2f..%2fetc%2fpasswd", "/assets/%2e%2e/%2e%2e/static.go", "//etc/passwd", "/.%00", "/assets/",
		"/assets", "/dist/index.html", "/index.html/", "/./static.go", `/..\static.go`, "/" + strings.Repeat("../", 200) + "etc/passwd",
		"http://127.0.0.1/../static.go", "/assets/..;/index.html",
	} {
		got := raw(t, s, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: %s\r\nConnection: close\r\n\r\n", path, cookie))
		if !strings.Contains(got, " 404 ") && !strings.Contains(got, " 307 ") && !strings.Contains(got, " 301 ") && !strings.Contains(got, " 400 ") {
			t.Errorf("%.60s: got %s, want 404", path, got)
		}
	}
}

func TestRequestsThatAreTooLargeAreCut(t *testing.T) {
	s := open(t)
	large := strings.Repeat("x", 64<<10)
	for name, request := range map[string]string{
		"a cookie": "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: tulle_session=" + large + "\r\n\r\n",
		"a header": "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + large + "\r\n\r\n",
		"a path":   "GET /" + large + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"a host":   "GET / HTTP/1.1\r\nHost: " + large + "\r\n\r\n",
		"cookies":  "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + strings.Repeat("Cookie: tulle_session=x\r\n", 3000) + "\r\n",
	} {
		if got := raw(t, s, request); !strings.Contains(got, " 431 ") && got != "closed" {
			t.Errorf("%s of %d bytes: got %s, want 431", name, len(request), got)
		}
	}
	s.enter(t)
	r := post(t, s.url+methodPath+"Apply", `{"manifests":[{"yaml":"`+strings.Repeat("x", 17<<20)+`"}]}`)
	if answer := s.do(t, r); answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusBadRequest {
		t.Errorf("a body of 17 MiB: got %s %s, want that it is too large", answer.Status, answer.text)
	}
}

// Who sends a header byte by byte, or never all of it, is cut after five seconds.
func TestSlowRequestsAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t)
		began := time.Now()
		for _, request := range []string{"", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", "POST /api/logout HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nx"} {
			conn, err := s.client.Transport.(*http.Transport).DialContext(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, request)
			_, _ = io.Copy(io.Discard, conn) // until it is closed
			conn.Close()
			if took := time.Since(began); took > 31*time.Second {
				t.Errorf("%q: cut after %v", request, took)
			}
			began = time.Now()
		}
	})
}

// The rights of a session are those of its login, whatever it calls.
func TestASessionMayWhatItsLoginSays(t *testing.T) {
	for name, test := range map[string]struct {
		may  []admin.Right
		want map[string]int
	}{
		"view": {[]admin.Right{admin.MayView}, map[string]int{"List": 200, "Apply": 403, "Delete": 403, "RollBack": 403, "CreateToken": 403, "CreateLogin": 403}},
		"all":  {everything, map[string]int{"List": 200, "Apply": 200, "CreateLogin": 403}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			s.enter(t, test.may...)
			for method, want := range test.want {
				if answer := s.do(t, post(t, s.url+methodPath+method, "{}")); answer.StatusCode != want {
					t.Errorf("%s: got %s, want %d", method, answer.Status, want)
				}
			}
			if !strings.HasPrefix(s.mesh.caller.Name, "dashboard ") || len(s.mesh.caller.May) != len(test.may) {
				t.Errorf("the API is asked by %+v", s.mesh.caller)
			}
			if answer := s.do(t, post(t, s.url+methodPath+"List", "{}")); answer.text != `{"revision":"7"}` {
				t.Error("the answer is not that of the API")
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		s := open(t)
		for _, r := range []*http.Request{
			post(t, s.url+methodPath+"List", "{}"), post(t, s.url+methodPath+"CreateLogin", "{}"), get(t, s.url+"/api/events"), get(t, s.url+"/api/tap"),
			get(t, s.url+"/api/session"), post(t, s.url+"/api/logout", ""), get(t, s.url+"/api/nothing"),
		} {
			if answer := s.do(t, r); answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: got %s, want 401", r.URL.Path, answer.Status)
			}
		}
	})
}
