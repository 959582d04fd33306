package mesh

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/mesh/identity"
)

func TestConfigSaysWhichFieldIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		config Config
		want   string // in the error; empty for none
	}{
		"the zero value joins as a client":    {Config{}, ""},
		"a service with a namespace":          {Config{Service: "voting.shop"}, ""},
		"a service that is no label":          {Config{Service: "Voting"}, "TULLE_SERVICE"},
		"a service with two namespaces":       {Config{Service: "a.b.c"}, "TULLE_SERVICE"},
		"a service that ends with a dot":      {Config{Service: "a."}, "TULLE_SERVICE"},
		"a server list of commas":             {Config{Server: ", ,"}, "TULLE_SERVER"},
		"an advertised wildcard":              {Config{Advertise: "0.0.0.0:80"}, "TULLE_ADVERTISE"},
		"an advertised name":                  {Config{Advertise: "host:80"}, "TULLE_ADVERTISE"},
		"an advertised address without port":  {Config{Advertise: "10.0.0.1"}, "TULLE_ADVERTISE"},
		"a zone with too many parts":          {Config{Zone: "a/b/c"}, "TULLE_ZONE"},
		"a token that is none":                {Config{Token: "tulle1.secret"}, "Config.Token"},
		"a token file that is gone":           {Config{TokenFile: "testdata/nowhere"}, "TULLE_TOKEN_FILE"},
		"a token file that need not be there": {Config{TokenFile: "testdata/nowhere", Server: "10.0.0.5:18000"}, ""},
		"two sources of identities":           {Config{IdentityDir: "a", Identity: identity.NewFiles("b", nil)}, "TULLE_IDENTITY_DIR"},
		"everything at once, as it should be": {Config{Service: "a", Server: "x,y", Advertise: "127.0.0.1:80", Zone: "r/z"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.StateDir = NoState
			_, err := test.config.withDefaults()
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want an error that names %s", err, test.want)
			}
		})
	}
}

func TestATokenKnowsItsServer(t *testing.T) {
	token := api.JoinToken{Address: "10.0.0.5:18000"}.Reveal()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"by itself":                            {Config{Token: token}, "10.0.0.5:18000"},
		"from a file":                          {Config{TokenFile: file}, "10.0.0.5:18000"},
		"unless another is named":              {Config{Token: token, Server: "10.0.0.6:1"}, "10.0.0.6:1"},
		"and without one it is this machine's": {Config{}, "unix://" + api.DefaultSocket()},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.StateDir = NoState
			c, err := test.config.withDefaults()
			if err != nil || c.Server != test.want {
				t.Errorf("got %q, %v, want %q", c.Server, err, test.want)
			}
		})
	}
}

func TestAConfigDoesNotPrintItsToken(t *testing.T) {
	c := Config{Service: "voting", Token: "tulle1.of.the.secret@host:1"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("joining", "config", c)
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%v", &c), log.String()} {
		if strings.Contains(text, "secret") {
			t.Errorf("it prints %q", text)
		}
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	want := Config{
		Service: "a", Server: "b", Version: "c", Zone: "d", Advertise: "e", StateDir: "f", Instance: "g",
		TokenFile: "h", JWTFile: "i", IdentityDir: "j", BundleFile: "k",
	}
	for name, value := range map[string]string{
		"TULLE_SERVICE": "a", "TULLE_SERVER": "b", "TULLE_VERSION": "c", "TULLE_ZONE": "d",
		"TULLE_ADVERTISE": "e", "TULLE_STATE_DIR": "f", "TULLE_INSTANCE": "g",
		"TULLE_TOKEN_FILE": "h", "TULLE_JWT_FILE": "i", "TULLE_IDENTITY_DIR": "j", "TULLE_BUNDLE_FILE": "k",
	} {
		t.Setenv(name, value)
	}
	if got := FromEnv(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestZoneMayNameItsRegion(t *testing.T) {
	for _, test := range []struct{ in, region, zone string }{
		{"", "", ""}, {"north", "", "north"}, {"eu/north", "eu", "north"},
	} {
		c := Config{Zone: test.in}
		if c.region() != test.region || c.zone() != test.zone {
			t.Errorf("%q: got %q and %q, want %q and %q", test.in, c.region(), c.zone(), test.region, test.zone)
		}
	}
}

func TestDefaultNamespaceIsNotWritten(t *testing.T) {
	c, err := Config{Service: "voting.default", StateDir: "state"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join("state", "voting.xds"); c.cacheFile() != want {
		t.Errorf("cache file %q, want %q", c.cacheFile(), want)
	}
	if want := filepath.Join("state", "voting.identity"); c.identityFile() != want {
		t.Errorf("identity file %q, want %q", c.identityFile(), want)
	}
}

func TestListenerMustBeReachable(t *testing.T) {
	for name, test := range map[string]struct {
		addr      net.Addr
		advertise string
		want      string // the address, or what the error says
	}{
		"loopback":                          {&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, "", "127.0.0.1:80"},
		"loopback, IPv6":                    {&net.TCPAddr{IP: net.IPv6loopback, Port: 80}, "", "[::1]:80"},
		"another address is advertised":     {&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, "127.0.0.2:81", "127.0.0.2:81"},
		"a wildcard needs an address":       {&net.TCPAddr{IP: net.IPv4zero, Port: 80}, "", "TULLE_ADVERTISE"},
		"a wildcard that has an address":    {&net.TCPAddr{IP: net.IPv4zero, Port: 80}, "10.0.0.1:80", "10.0.0.1:80"},
		"an address of the network":         {&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}, "", "10.0.0.1:80"},
		"a unix socket needs an address":    {&net.UnixAddr{Net: "unix", Name: "/run/a.sock"}, "", "TULLE_ADVERTISE"},
		"a unix socket that has an address": {&net.UnixAddr{Net: "unix", Name: "/run/a.sock"}, "127.0.0.1:80", "127.0.0.1:80"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Config{Advertise: test.advertise}.advertised(test.addr)
			if got != test.want && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}
