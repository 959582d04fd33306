package mesh

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
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

func TestConfigFromEnvironment(t *testing.T) {
	want := Config{Service: "a", Server: "b", Version: "c", Zone: "d", Advertise: "e", StateDir: "f", Instance: "g"}
	for name, value := range map[string]string{
		"TULLE_SERVICE": "a", "TULLE_SERVER": "b", "TULLE_VERSION": "c", "TULLE_ZONE": "d",
		"TULLE_ADVERTISE": "e", "TULLE_STATE_DIR": "f", "TULLE_INSTANCE": "g",
	} {
		t.Setenv(name, value)
	}
	got := FromEnv()
	if got.Service != want.Service || got.Server != want.Server || got.Version != want.Version || got.Zone != want.Zone ||
		got.Advertise != want.Advertise || got.StateDir != want.StateDir || got.Instance != want.Instance {
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
}

func TestListenerMustBeReachableAndLocal(t *testing.T) {
	for name, test := range map[string]struct {
		addr      net.Addr
		advertise string
		want      string // the address, or what the error says
	}{
		"loopback":                          {&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, "", "127.0.0.1:80"},
		"loopback, IPv6":                    {&net.TCPAddr{IP: net.IPv6loopback, Port: 80}, "", "[::1]:80"},
		"another address is advertised":     {&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, "127.0.0.2:81", "127.0.0.2:81"},
		"a wildcard needs mutual TLS":       {&net.TCPAddr{IP: net.IPv4zero, Port: 80}, "", "mutual TLS"},
		"another host needs mutual TLS":     {&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}, "", "mutual TLS"},
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
