package consul_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

func TestAddressesAreTakenApart(t *testing.T) {
	for _, test := range []struct {
		config consul.Config
		want   string
	}{
		{consul.Config{}, "http://127.0.0.1:8500"},
		{consul.Config{Address: "consul.example"}, "http://consul.example:8500"},
		{consul.Config{Address: "consul.example:80"}, "http://consul.example:80"},
		{consul.Config{Address: "http://consul.example:80/"}, "http://consul.example:80"},
		{consul.Config{Address: "https://consul.example"}, "https://consul.example:8501"},
		{consul.Config{Address: "http://consul.example", CAFile: "ca.pem"}, "https://consul.example:8501"},
		{consul.Config{Address: "[::1]:8500"}, "http://[::1]:8500"},
		{consul.Config{Address: "http://[fe80::1%25eth0]"}, "http://[fe80::1%eth0]:8500"},
		{consul.Config{Address: "unix:///run/consul.sock"}, "unix:///run/consul.sock"},
	} {
		got, err := consul.Endpoint(test.config)
		if err != nil || got != test.want {
			t.Errorf("%q: got %q, %v, want %q", test.config.Address, got, err, test.want)
		}
	}
}

func TestSettingsThatCannotWorkAreNamed(t *testing.T) {
	for _, test := range []struct {
		name   string
		config consul.Config
		want   string
	}{
		{"another scheme", consul.Config{Address: "tcp://consul:8500"}, "want host:port"},
		{"a path", consul.Config{Address: "http://consul:8500/v1"}, "want host:port"},
		{"a fragment", consul.Config{Address: "http://consul:8500#v1"}, "want host:port"},
		{"a space", consul.Config{Address: "con sul:8500"}, "want host:port"},
		{"no host", consul.Config{Address: ":8500"}, "want host:port"},
		{"a port beyond the last", consul.Config{Address: "consul:65536"}, "want 1 to 65535"},
		{"port zero", consul.Config{Address: "consul:0"}, "want 1 to 65535"},
		{"a socket without a path", consul.Config{Address: "unix://"}, "names no socket"},
		{"a password in the address", consul.Config{Address: "http://me:secret@consul:8500"}, "name or password"},
		{"two tokens", consul.Config{Token: "secret", TokenFile: "file"}, "give one"},
		{"a token of two lines", consul.Config{Token: "secret\nsecret"}, "one line"},
		{"a certificate without its key", consul.Config{CertFile: "cert.pem"}, "give both files"},
		{"a certificate that is not there", consul.Config{CertFile: "cert.pem", KeyFile: "key.pem"}, "consul: certificate: open cert.pem"},
		{"roots that are not there", consul.Config{CAFile: "ca.pem"}, "consul: roots: open ca.pem"},
		{"roots that are none", consul.Config{CAFile: "config_test.go"}, "holds no certificate"},
		{"a negative number of connections", consul.Config{Connections: -1}, "want 1 or more"},
		{"a prefix with a slash", consul.Config{Prefix: "tulle/"}, "without a slash"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := consul.New(test.config)
			if err == nil || !strings.HasPrefix(err.Error(), "consul: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%v holds a secret", err)
			}
		})
	}
}

func TestEnvironmentIsConsulsOwn(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		want consul.Config
	}{
		{"nothing", nil, consul.Config{}},
		{"all of it", map[string]string{
			"CONSUL_HTTP_ADDR": "consul:8500", "CONSUL_HTTP_TOKEN": "t", "CONSUL_CACERT": "ca", "CONSUL_CLIENT_CERT": "cert", "CONSUL_CLIENT_KEY": "key",
			"CONSUL_TLS_SERVER_NAME": "name", "CONSUL_NAMESPACE": "ns", "CONSUL_PARTITION": "p",
		}, consul.Config{
			Address: "consul:8500", Token: "t", CAFile: "ca", CertFile: "cert", KeyFile: "key", ServerName: "name", Namespace: "ns", Partition: "p",
		}},
		{"the file wins over the token", map[string]string{"CONSUL_HTTP_TOKEN": "t", "CONSUL_HTTP_TOKEN_FILE": "f"}, consul.Config{TokenFile: "f"}},
		{"TLS", map[string]string{"CONSUL_HTTP_ADDR": "consul:8501", "CONSUL_HTTP_SSL": "true"}, consul.Config{Address: "https://consul:8501"}},
		{"TLS to this machine", map[string]string{"CONSUL_HTTP_SSL": "1"}, consul.Config{Address: "https://127.0.0.1:8500"}},
		{"no TLS", map[string]string{"CONSUL_HTTP_ADDR": "consul:8500", "CONSUL_HTTP_SSL": "false"}, consul.Config{Address: "consul:8500"}},
		{"TLS and a socket", map[string]string{"CONSUL_HTTP_ADDR": "unix:///s", "CONSUL_HTTP_SSL": "true"}, consul.Config{Address: "unix:///s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, name := range []string{
				"CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_SSL", "CONSUL_CACERT", "CONSUL_CLIENT_CERT",
				"CONSUL_CLIENT_KEY", "CONSUL_TLS_SERVER_NAME", "CONSUL_NAMESPACE", "CONSUL_PARTITION",
			} {
				t.Setenv(name, test.env[name])
			}
			if diff := cmp.Diff(test.want, consul.FromEnv(), cmpopts.EquateComparable()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What the environment says to Consul's own client is not what a Config says.
func TestEnvironmentDoesNotReachIntoAConfig(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN", "of-another")
	t.Setenv("CONSUL_HTTP_TOKEN_FILE", "/is/not/there")
	t.Setenv("CONSUL_HTTP_SSL", "true")
	synctest.Test(t, func(t *testing.T) {
		var token string
		f := newFake()
		c := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token = r.Header.Get("X-Consul-Token")
			f.ServeHTTP(w, r)
		}), consul.Config{})
		if _, _, err := c.Get(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"GET /v1/kv/tulle/x?consistent="}, f.queries()); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
		if token != "" {
			t.Errorf("the token %q was sent, which is not of the Config", token)
		}
	})
}

func TestReadOnlyWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := connect(t, f, consul.Config{ReadOnly: true})
		ctx := t.Context()
		_, put := c.Put(ctx, "x", nil, 0)
		_, transact := c.Transact(ctx, c.PutOp("x", nil, 0))
		_, nothing := c.Transact(ctx)
		_, _, write := c.Write(ctx)
		for name, err := range map[string]error{
			"put": put, "delete": c.Delete(ctx, "x", 1), "transact": transact, "transact nothing": nothing, "write": write,
			"fence": consul.Fence{}.With(c).Transact(ctx, c.PutOp("x", nil, 0)),
		} {
			if err == nil || !strings.Contains(err.Error(), consul.ErrReadOnly.Error()) {
				t.Errorf("%s: got %v, want %v", name, err, consul.ErrReadOnly)
			}
		}
		leading, end := lead(t, c, "lock")
		settle(time.Hour)
		end()
		if got := len(leading); got != 0 {
			t.Error("it leads")
		}
		if got := f.queries(); len(got) != 0 {
			t.Errorf("sent %q, want nothing", got)
		}
	})
}

func TestWritesThatConsulCannotTakeAreRefusedBeforeTheyAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := connect(t, f, consul.Config{})
		if _, err := c.Put(t.Context(), "x", make([]byte, consul.MaxValue+1), 0); err == nil || !strings.Contains(err.Error(), "the value of tulle/x is 380 KiB long") {
			t.Errorf("a long value: got %v", err)
		}
		ops := slicesOf(consul.MaxOps+1, c.PutOp("x", nil, 0))
		if _, err := c.Transact(t.Context(), ops...); err == nil || !strings.Contains(err.Error(), "65 parts of a transaction") {
			t.Errorf("many parts: got %v", err)
		}
		if got, err := c.Transact(t.Context()); got != nil || err != nil {
			t.Errorf("nothing: got %v, %v", got, err)
		}
		if got := f.queries(); len(got) != 0 {
			t.Errorf("sent %q, want nothing", got)
		}
	})
}

func slicesOf[T any](n int, one T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = one
	}
	return out
}

func TestTheTokenIsNeverPrinted(t *testing.T) {
	const token = "7ec2f1a0-secret-4d2e"
	config := consul.Config{Token: token, Address: "consul:8500"}
	c, err := consul.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all strings.Builder
	logger := slog.New(slog.NewJSONHandler(&all, nil))
	for _, value := range []any{config, &config, c, struct{ Consul any }{c}, []any{config}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&all, verb+"\n", value)
		}
	}
	logger.Info("config", "value", config, "pointer", &config, "client", c)
	logger.Info("error", "error", c.Explain("read", io.ErrUnexpectedEOF))
	if strings.Contains(all.String(), token) || strings.Contains(all.String(), fmt.Sprintf("%x", token)) {
		t.Errorf("the token is printed:\n%s", &all)
	}
	if !strings.Contains(all.String(), "consul at http://consul:8500") {
		t.Errorf("the address is not printed:\n%s", &all)
	}
}

func FuzzAddress(f *testing.F) {
	for _, address := range []string{
		"", "consul", "consul:8500", "http://consul", "https://consul:8501/", "unix:///run/consul.sock", "unix://", "[::1]:8500", "http://[fe80::1%25eth0]:1",
		"http://me:secret@consul", "tcp://x", "http://:1", "consul:0", "consul:99999", "http://a?b#c", "\x00", "HTTP://a", "]",
	} {
		f.Add(address, false)
		f.Add(address, true)
	}
	f.Fuzz(func(t *testing.T, address string, secure bool) {
		c := consul.Config{Address: address}
		if secure {
			c.CAFile = "ca.pem"
		}
		got, err := consul.Endpoint(c)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "consul: ") || len(err.Error()) > 2000 {
				t.Errorf("%q: error %q", address, err)
			}
			return
		}
		if path, ok := strings.CutPrefix(got, "unix://"); ok {
			if path == "" {
				t.Errorf("%q: a socket without a path", address)
			}
			return
		}
		_, hostPort, _ := strings.Cut(got, "://")
		host, port, err := net.SplitHostPort(hostPort)
		if n, portErr := strconv.Atoi(port); err != nil || portErr != nil || host == "" || n < 1 || n > 65535 {
			t.Errorf("%q is %q, which cannot be dialled", address, got)
		}
		u := url.URL{Scheme: "http", Host: hostPort}
		if parsed, err := url.Parse(u.String()); err != nil || parsed.Host != hostPort {
			t.Errorf("%q is %q, which is no address of a request: %v", address, got, err)
		}
		if again, err := consul.Endpoint(consul.Config{Address: u.String(), CAFile: c.CAFile}); err != nil || secure && !strings.HasPrefix(again, "https://") {
			t.Errorf("%q is %q, and that is %q, %v", address, got, again, err)
		}
	})
}
