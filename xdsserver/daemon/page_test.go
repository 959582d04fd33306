package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// overSocket is a client of the admin API's unix socket.
func overSocket(t *testing.T, c Config) adminv1connect.AdminServiceClient {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(filepath.Dir(c.Socket), AdminSocket))
	}}}
	t.Cleanup(client.CloseIdleConnections)
	return adminv1connect.NewAdminServiceClient(client, "http://localhost")
}

// browser keeps cookies, and knows some roots.
func browser(t *testing.T, roots *x509.CertPool) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots},
	}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func login(t *testing.T, client adminv1connect.AdminServiceClient) *adminv1.CreateLoginResponse {
	t.Helper()
	answer, err := client.CreateLogin(t.Context(), &adminv1.CreateLoginRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func visit(t *testing.T, c *http.Client, url string, change ...func(*http.Request)) seen {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Tulle-Request", "1")
	for _, f := range change {
		f(r)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	out := seen{code: answer.StatusCode, proto: answer.Proto, tls: answer.TLS, cookies: answer.Cookies()}
	if first := answer.Request.Response; first != nil { // a redirect's
		out.cookies = first.Cookies()
	}
	return out
}

// seen is what became of a request, and what it was given on the way.
type seen struct {
	code    int
	proto   string
	tls     *tls.ConnectionState
	cookies []*http.Cookie
}

func TestTheDashboardIsBesideTheAPI(t *testing.T) {
	c := config(t)
	d := run(t, c)
	l := login(t, adminv1connect.NewAdminServiceClient(http.DefaultClient, d.url))
	if !strings.HasPrefix(l.GetUrl(), "http://127.0.0.1:") || l.GetFingerprint() != "" {
		t.Errorf("got %v", l)
	}
	b := browser(t, nil)
	if got := visit(t, b, d.url+"/"); got.code != http.StatusUnauthorized {
		t.Errorf("without a session: %d, want 401", got.code)
	}
	if got := visit(t, b, l.GetUrl()); got.code != http.StatusOK { // and on to the page
		t.Errorf("with the address: %d, want 200", got.code)
	}
	if got := visit(t, b, d.url+"/api/session"); got.code != http.StatusOK {
		t.Errorf("the session: %d, want 200", got.code)
	}
	// A session is none of the API that is for programs, which asks the kernel.
	if got := visit(t, b, d.url+"/healthz"); got.code != http.StatusOK {
		t.Errorf("health: %d, want 200", got.code)
	}
	log, err := os.ReadFile(filepath.Join(c.Data, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	token := l.GetUrl()[strings.Index(l.GetUrl(), "=")+1:]
	if text := string(log); !strings.Contains(text, "login.created") || !strings.Contains(text, "login.used") || strings.Contains(text, token) {
		t.Errorf("audit log: %s", text)
	}
}

// others listens on all addresses, of which loopback is one that a test reaches.
func others(t *testing.T) Config {
	t.Helper()
	c := config(t)
	c.HTTP, c.Advertise = "0.0.0.0:0", "127.0.0.1:18000"
	c.Socket = filepath.Join(t.TempDir(), "tulle", "xds.sock")
	return c
}

func TestTheDashboardForOthersSpeaksTLSAlone(t *testing.T) {
	c := others(t)
	d := run(t, c)
	l := login(t, overSocket(t, c))
	if !strings.HasPrefix(l.GetUrl(), "https://127.0.0.1:") || l.GetFingerprint() == "" {
		t.Fatalf("got %v", l)
	}
	roots := x509.NewCertPool()
	for _, a := range d.authority.Trust().Bundle.Roots() {
		roots.AddCert(a)
	}
	b := browser(t, roots)
	answer := visit(t, b, l.GetUrl())
	if answer.code != http.StatusOK || answer.proto != "HTTP/2.0" || answer.tls.Version != tls.VersionTLS13 {
		t.Errorf("got %d over %s", answer.code, answer.proto)
	}
	if got := fingerprint(&tls.Certificate{Certificate: [][]byte{answer.tls.PeerCertificates[0].Raw}}); got != l.GetFingerprint() {
		t.Errorf("the certificate is %s, and said to be %s", got, l.GetFingerprint())
	}
	secure := false
	for _, cookie := range answer.cookies {
		secure = cookie.Secure
	}
	if !secure {
		t.Error("the cookie is not for TLS alone")
	}
	if got := visit(t, b, d.url+"/api/session"); got.code != http.StatusOK {
		t.Errorf("the session: %d, want 200", got.code)
	}
	if got := visit(t, b, d.url+"/", func(r *http.Request) { r.Host = "attacker.test" }); got.code != http.StatusForbidden {
		t.Errorf("another host's name: %d, want 403", got.code)
	}
	// No process is attested here, not even one of this user.
	_, err := adminv1connect.NewAdminServiceClient(b, d.url).GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	if err == nil {
		t.Error("the admin API answers on the port for others")
	}
	plain := "http" + strings.TrimPrefix(d.url, "https")
	if got := visit(t, http.DefaultClient, plain+"/healthz"); got.code != http.StatusBadRequest {
		t.Errorf("without TLS: %d, want 400", got.code)
	}
}

// certificateOf writes a certificate for some names, and its key.
func certificateOf(t *testing.T, cert, key string, names ...string) *x509.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestTheDashboardHasACertificateOfFiles(t *testing.T) {
	c := others(t)
	dir := t.TempDir()
	c.HTTPCert, c.HTTPKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	root := certificateOf(t, c.HTTPCert, c.HTTPKey, "*.mesh.test", "mesh.test")
	d := run(t, c)
	l := login(t, overSocket(t, c))
	if !strings.HasPrefix(l.GetUrl(), "https://mesh.test:") || l.GetFingerprint() != "" {
		t.Fatalf("got %v", l)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, port, err := net.SplitHostPort(d.admin[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if got := visit(t, browser(t, roots), "https://127.0.0.1:"+port+"/", func(r *http.Request) { r.Host = "mesh.test" }); got.code != http.StatusUnauthorized {
		t.Errorf("got %d, want the page that says how to come in", got.code)
	}
}

func TestCertificateFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	f := &certificateFiles{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	if _, err := f.load(); err == nil {
		t.Error("what is not there is loaded")
	}
	first := certificateOf(t, f.cert, f.key, "a.test")
	is := func(want *x509.Certificate, when string) {
		t.Helper()
		got, err := f.load()
		if err != nil || !got.Leaf.Equal(want) {
			t.Errorf("%s: got another certificate, %v", when, err)
		}
	}
	is(first, "at first")
	second := certificateOf(t, f.cert, f.key, "b.test")
	if err := os.Chtimes(f.cert, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	is(first, "a moment later")
	f.looked = f.looked.Add(-lookAgain)
	is(second, "later")
	if err := os.WriteFile(f.cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.looked = f.looked.Add(-lookAgain)
	is(second, "while they are written")
	third := certificateOf(t, f.cert, f.key, "c.test")
	f.looked = f.looked.Add(-lookAgain)
	is(third, "when they are whole again")
}

// A thousand dashboards, and as many connections that send nothing, do not slow the mesh.
func TestACrowdOfBrowsersDoesNotSlowTheMesh(t *testing.T) {
	d := run(t, config(t))
	conn, err := grpc.NewClient(d.listeners[0].Addr().String(), grpc.WithTransportCredentials(member(t, d, "web")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func() time.Duration {
		took := make([]time.Duration, 0, 300)
		for range 300 {
			began := time.Now()
			if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)*95/100]
	}
	alone := ask()

	client := adminv1connect.NewAdminServiceClient(http.DefaultClient, d.url)
	address := d.admin[0].Addr().String()
	var crowd []net.Conn
	defer func() {
		for _, c := range crowd {
			_ = c.Close()
		}
	}()
	dial := func(request string) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, c)
		_, _ = fmt.Fprint(c, request)
	}
	cookie := ""
	const dashboards = 1000
	for i := range dashboards {
		if i%16 == 0 { // as many streams as a session may have
			b := browser(t, nil)
			b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			cookie = visit(t, b, login(t, client).GetUrl()).cookies[0].String()
			b.CloseIdleConnections()
		}
		dial("GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: same-origin\r\nCookie: " + cookie + "\r\n\r\n")
		dial("GET / HTTP/1.1\r\nHost: ")
	}
	// They are all let in: what comes first of each stream has come.
	var wg sync.WaitGroup
	open := make(chan bool, dashboards)
	for i := 0; i < len(crowd); i += 2 {
		wg.Go(func() {
			first := make([]byte, 12)
			_ = crowd[i].SetReadDeadline(time.Now().Add(20 * time.Second))
			n, _ := crowd[i].Read(first)
			open <- string(first[:n]) == "HTTP/1.1 200"
		})
	}
	wg.Wait()
	close(open)
	in := 0
	for ok := range open {
		if ok {
			in++
		}
	}
	if in < dashboards*9/10 {
		t.Errorf("%d of %d dashboards are let in", in, dashboards)
	}
	crowded := ask()
	t.Logf("p95 alone %v, in a crowd %v", alone, crowded)
	if crowded > 20*alone+20*time.Millisecond {
		t.Errorf("a call of the mesh port takes %v (p95) beside the crowd, and %v without", crowded, alone)
	}
}
