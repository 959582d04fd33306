package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

func TestAnAddressLetsInOnce(t *testing.T) {
	s := open(t)
	for _, path := range []string{"/assets/x.js", "/index.html", "/other", "/../../etc/passwd"} {
		if answer := s.do(t, get(t, s.url+path)); answer.StatusCode != http.StatusUnauthorized && answer.StatusCode/100 != 3 {
			t.Errorf("%s without a session: got %s, want 401", path, answer.Status)
		}
	}
	for _, path := range []string{"/", "/login"} {
		if answer := s.do(t, get(t, s.url+path)); answer.StatusCode != http.StatusUnauthorized || !strings.Contains(answer.text, "xdsserver dashboard") {
			t.Errorf("%s without a session: got %s, want 401 and what to do", path, answer.Status)
		}
	}
	for _, path := range []string{"/healthz", "/login.css"} {
		if answer := s.do(t, get(t, s.url+path)); answer.StatusCode != http.StatusOK {
			t.Errorf("%s without a session: got %s, want 200", path, answer.Status)
		}
	}

	address := s.address(t, admin.MayView, admin.MayTap)
	ahead := get(t, address)
	ahead.Header.Set("Sec-Purpose", "prefetch;prerender")
	head := get(t, address)
	head.Method = http.MethodHead
	for _, r := range []*http.Request{ahead, head} {
		if answer := s.do(t, r); answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a browser that looks ahead: got %s, want 503", answer.Status)
		}
	}
	answer := s.do(t, get(t, address))
	cookie := answer.cookies[0]
	if answer.StatusCode != http.StatusSeeOther || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure ||
		cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge != 3600 {
		t.Errorf("got %s, %+v", answer.Status, cookie)
	}
	if answer := s.do(t, get(t, address)); answer.StatusCode != http.StatusUnauthorized || !strings.Contains(answer.text, "has been used") {
		t.Errorf("the second time: got %s, want 401 and why", answer.Status)
	}
	if answer := s.do(t, get(t, s.url+"/")); answer.StatusCode != http.StatusOK || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page: got %s, %v", answer.Status, answer.Header)
	}
	var said struct {
		Name, Version, TrustDomain string
		May                        []string
		Expires                    time.Time
	}
	if err := json.Unmarshal([]byte(s.do(t, get(t, s.url+"/api/session")).text), &said); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(said.Name, "dashboard ") || said.Version != "1.2.3" || said.TrustDomain != "tulle.local" ||
		!slices.Equal(said.May, []string{"view", "tap"}) || said.Expires.IsZero() {
		t.Errorf("the session: got %+v", said)
	}
}

func TestTheCookieIsForTLSAloneWhereThatIsSpoken(t *testing.T) {
	s := New(Config{API: &mesh{}, URL: "https://mesh.test:18080"})
	if c := s.cookie("x", time.Hour); !c.Secure || !s.known("mesh.test:1") || s.known("evil.test") {
		t.Errorf("got %+v", c)
	}
}

func TestLoginsExpireAndAreBounded(t *testing.T) {
	request := admin.LoginRequest{By: "user 7", May: everything, Session: time.Hour}
	var l logins
	now := time.Now()
	first, made := l.create(request, now)
	if _, ok := l.redeem(first.reveal(), made.expires); ok {
		t.Error("one that has expired lets in")
	}
	if _, ok := l.redeem(first.reveal(), now); ok {
		t.Error("one that was tried too late lets in later")
	}
	second, made := l.create(request, now)
	if _, ok := l.redeem(second.reveal(), made.expires.Add(-1)); !ok {
		t.Error("one that has not expired does not let in")
	}
	oldest, _ := l.create(request, now)
	for range maxLogins {
		l.create(request, now)
	}
	if len(l.waiting) != maxLogins {
		t.Errorf("%d are kept, want %d", len(l.waiting), maxLogins)
	}
	if _, ok := l.redeem(oldest.reveal(), now); ok {
		t.Error("the oldest is kept")
	}
	l.create(request, now.Add(loginWithin))
	if len(l.waiting) != 1 {
		t.Errorf("%d are kept after the others have expired, want 1", len(l.waiting))
	}
}

func TestGuessesDoNotLetIn(t *testing.T) {
	s := open(t)
	token := s.address(t)[len(s.url)+len("/login?token="):]
	guess := []byte(token)
	guess[0] ^= 1
	for _, g := range []string{
		"x", string(guess), token[:42], token + "A", token + "=", " " + token, strings.Repeat("A", 43), "%00", strings.Repeat("A", 3000),
		token[:42] + "\n" + token[42:],
	} {
		answer := s.do(t, get(t, s.url+"/login?token="+url.QueryEscape(g)))
		if answer.StatusCode != http.StatusUnauthorized || len(answer.cookies) > 0 {
			t.Errorf("%q: got %s, want 401", g, answer.Status)
		}
	}
	// It was the right one all the time, and twice in a query it is still one.
	if answer := s.do(t, get(t, s.url+"/login?token="+token+"&token=x")); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("after the guesses: got %s, want 303", answer.Status)
	}
	if got := strings.Count(s.log.String(), "login to the dashboard refused"); got != 1 {
		t.Errorf("%d guesses are in the log, want the first of a second", got)
	}
}

// Somebody who knows the cookie that a browser comes with knows nothing of the session.
func TestALoginMakesANewCookie(t *testing.T) {
	s := open(t)
	fixed := newSecret().reveal()
	r := get(t, s.address(t))
	r.AddCookie(&http.Cookie{Name: cookieName, Value: fixed})
	got := s.do(t, r).cookies[0].Value
	if got == fixed {
		t.Fatal("the session has the cookie that was brought")
	}
	if s.sessions.find(fixed, time.Now()) != nil || s.sessions.find(got, time.Now()) == nil {
		t.Error("the session is under the cookie that was brought")
	}
	// Nor does a login change whose a session that is open is.
	before := s.cookieOf(t).Value
	s.enter(t, admin.MayView)
	if s.cookieOf(t).Value == before {
		t.Error("the second login has the cookie of the first")
	}
}

// Another server of the same host may set cookies of the same name.
func TestCookiesOfOthersDoNotShutOut(t *testing.T) {
	s := open(t)
	s.enter(t)
	own := s.cookieOf(t)
	s.client.Jar = nil
	for name, test := range map[string]struct {
		before int
		want   int
	}{"one": {1, http.StatusOK}, "seven": {7, http.StatusOK}, "more than are tried": {8, http.StatusUnauthorized}} {
		r := get(t, s.url+"/api/session")
		for range test.before {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: newSecret().reveal()})
		}
		r.AddCookie(own)
		if answer := s.do(t, r); answer.StatusCode != test.want {
			t.Errorf("%s before ours: got %s, want %d", name, answer.Status, test.want)
		}
	}
}

func TestASessionEnds(t *testing.T) {
	t.Run("by a logout", func(t *testing.T) {
		s := open(t)
		s.enter(t)
		cookie := s.cookieOf(t)
		next, end := s.events(t, "/api/events")
		defer end()
		next()
		r := post(t, s.url+"/api/logout", "")
		if answer := s.do(t, r); answer.StatusCode != http.StatusNoContent || answer.cookies[0].MaxAge >= 0 {
			t.Errorf("got %s, %v", answer.Status, answer.cookies)
		}
		for ok := true; ok; { // its streams end
			_, ok = next()
		}
		r = get(t, s.url+"/api/session")
		r.AddCookie(cookie)
		if answer := s.do(t, r); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("after it: got %s, want 401", answer.Status)
		}
	})
	t.Run("when its time is over", func(t *testing.T) {
		now := time.Now()
		var s sessions
		key, made := s.begin(login{session: time.Hour}, 0, false, now)
		if s.find(key.reveal(), now.Add(time.Hour-1)) != made || s.find(key.reveal(), now.Add(time.Hour)) != nil {
			t.Error("it does not end after an hour")
		}
		select {
		case <-made.done:
		default:
			t.Error("its streams do not end")
		}
	})
	t.Run("when there are too many", func(t *testing.T) {
		now := time.Now()
		var s sessions
		first, _ := s.begin(login{session: time.Hour}, 0, false, now)
		second, _ := s.begin(login{session: time.Hour}, 0, false, now.Add(1))
		for i := range maxSessions - 2 {
			s.begin(login{session: time.Hour}, 0, false, now.Add(time.Duration(i+2)))
		}
		s.find(first.reveal(), now.Add(time.Minute)) // is used
		s.begin(login{session: time.Hour}, 0, false, now.Add(time.Minute))
		if len(s.open) != maxSessions || s.find(second.reveal(), now.Add(time.Minute)) != nil || s.find(first.reveal(), now.Add(time.Minute)) == nil {
			t.Errorf("%d are open, and the one that is unused for longest is not the one that goes", len(s.open))
		}
	})
}

// A stolen cookie is of no use to another user's process.
func TestASessionIsOfTheUserThatCameIn(t *testing.T) {
	s := open(t)
	s.enter(t)
	in := s.sessions.find(s.cookieOf(t).Value, time.Now())
	if !in.bound {
		t.Skip("this system does not say whose process asks")
	}
	in.uid++
	if answer := s.do(t, get(t, s.url+"/api/session")); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s, want 401", answer.Status)
	}
	if !strings.Contains(s.log.String(), "session of another user's process refused") {
		t.Errorf("the log does not say so: %s", s.log)
	}
}

func TestNobodyIsLetInWithoutTheAuditLog(t *testing.T) {
	full := errors.New("disk full")
	s := New(Config{API: &mesh{}, URL: "http://127.0.0.1:1", Audit: func(string, string) error { return full }})
	if _, err := s.CreateLogin(admin.LoginRequest{May: everything, Session: time.Hour}); !errors.Is(err, full) {
		t.Errorf("got %v, want that the disk is full", err)
	}
	if len(s.logins.waiting) > 0 {
		t.Error("the login is there")
	}
}

// The secrets of logins and sessions are in no log, whatever is done with them.
func TestSecretsAreNotLogged(t *testing.T) {
	s := open(t)
	address := s.address(t)
	token := address[strings.Index(address, "=")+1:]
	for range 2 { // once well, once badly
		s.do(t, get(t, address))
	}
	s.do(t, get(t, s.url+"/api/session?token="+token))
	cookie := s.cookieOf(t).Value
	other := get(t, s.url+"/")
	other.Host = "attacker.test"
	s.do(t, other)
	s.do(t, post(t, s.url+"/api/logout", ""))
	s.do(t, get(t, s.url+"/api/session"))
	log := s.log.String()
	if !strings.Contains(log, "login.created") || !strings.Contains(log, "login.used") {
		t.Errorf("the audit log does not say who came in: %s", log)
	}
	for _, secret := range []string{token, cookie, token[:12], cookie[:12]} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %s", secret)
		}
	}
	if got := fmt.Sprint(newSecret()); got != "(secret)" {
		t.Errorf("a secret prints as %s", got)
	}
}

func TestAnAddressWorksForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t)
		early, late := s.address(t), s.address(t)
		time.Sleep(loginWithin - time.Second)
		if answer := s.do(t, get(t, early)); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("just before: got %s, want 303", answer.Status)
		}
		time.Sleep(2 * time.Second)
		if answer := s.do(t, get(t, late)); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("just after: got %s, want 401", answer.Status)
		}
	})
}
