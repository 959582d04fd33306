package daemon

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/xdsserver/admin"
	"github.com/tulle-mesh/tulle/xdsserver/dashboard"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
)

// lookAgain is how often the files of the dashboard's certificate are looked at, at most.
const lookAgain = 10 * time.Second

// remotePage reports whether other machines reach the dashboard.
func (c Config) remotePage() (bool, error) {
	loopback, err := isLoopback("--http", c.HTTP)
	return !loopback, err
}

// checkPage refuses a dashboard that nobody could come into, or that would be read on
// the way.
func (c Config) checkPage() error {
	remote, err := c.remotePage()
	switch {
	case err != nil:
		return err
	case (c.HTTPCert == "") != (c.HTTPKey == ""):
		return &ConfigError{Flag: "--http-cert", Reason: "and --http-key go together: give both, or neither"}
	case !remote && c.HTTPCert != "":
		return &ConfigError{Flag: "--http-cert", Reason: "is for a dashboard that other machines reach, and --http " + c.HTTP +
			" is for this one: leave it out, or give --http another address"}
	case remote && c.Socket == NoSocket:
		return &ConfigError{Flag: "--http", Reason: c.HTTP + " is for other machines, and serves them the dashboard alone: " +
			"the command line, which lets people in, needs --socket"}
	case remote && c.HTTPCert == "" && isWorkload(c.CA):
		return &ConfigError{Flag: "--http", Reason: c.HTTP + " is for other machines and wants TLS, and --ca " + c.CA +
			" signs nothing for it: give it --http-cert and --http-key"}
	}
	return nil
}

// openPage makes the dashboard, and the servers of the admin API's listeners.
func (d *Daemon) openPage(c Config, operators *admin.Server) error {
	remote, err := c.remotePage()
	if err != nil {
		return err
	}
	config := dashboard.Config{
		API:         operators,
		Version:     api.Version,
		TrustDomain: d.authority.Status().TrustDomain,
		Audit:       func(event, what string) error { return d.audit.Append(enrol.Entry{Event: event, Reason: what}) },
		Logger:      c.Logger,
	}
	var encrypted *tls.Config
	names := pageHosts(c)
	if remote {
		encrypted = &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
		if c.HTTPCert != "" {
			files := &certificateFiles{cert: c.HTTPCert, key: c.HTTPKey}
			own, err := files.load()
			if err != nil {
				return err
			}
			names = slices.Concat(certified(own), names)
			encrypted.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files.load() }
		} else {
			encrypted.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return d.authority.Certificate(), nil }
			config.Fingerprint = func() string { return fingerprint(d.authority.Certificate()) }
			c.Logger.Warn("dashboard has a certificate that no browser knows: compare it", "sha256", config.Fingerprint())
		}
	}
	config.Hosts = names
	config.URL = pageURL(c, d.admin[0].Addr(), remote, names)
	d.url = config.URL
	d.page = dashboard.New(config)
	for i := range d.admin {
		var page http.Handler
		if i == 0 {
			page = d.page.Handler()
		}
		d.http = append(d.http, operators.HTTPServer(page))
	}
	d.http[0].TLSConfig = encrypted
	return nil
}

// answer serves one listener until its server is shut down.
func answer(srv *http.Server, lis net.Listener) error {
	serve := srv.Serve
	if srv.TLSConfig != nil { // of ours
		serve = func(lis net.Listener) error { return srv.ServeTLS(lis, "", "") }
	}
	err := serve(lis)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// pageHosts are the names and addresses by which browsers reach a dashboard that is not
// on loopback, the best first.
func pageHosts(c Config) []string {
	host, _, err := net.SplitHostPort(c.HTTP)
	if err != nil || !isWildcard(host) {
		return []string{host}
	}
	var names []string
	if advertised, _, err := net.SplitHostPort(c.Advertise); err == nil && advertised != "" && !isWildcard(advertised) {
		names = append(names, advertised)
	}
	names = append(names, machineAddresses()...)
	if name := hostname(); name != "" {
		names = append(names, name)
	}
	return names
}

// pageURL is how browsers are told to reach the dashboard.
func pageURL(c Config, listens net.Addr, remote bool, names []string) string {
	if !remote {
		return "http://" + listens.String()
	}
	_, port, err := net.SplitHostPort(listens.String())
	if err != nil || len(names) == 0 {
		return "https://" + c.HTTP
	}
	return "https://" + net.JoinHostPort(names[0], port)
}

// certified are the names and addresses that a certificate is for. One for all names of
// a domain says none of them.
func certified(cert *tls.Certificate) []string {
	var names []string
	for _, name := range cert.Leaf.DNSNames {
		if name != "" && name[0] != '*' {
			names = append(names, name)
		}
	}
	for _, ip := range cert.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// fingerprint is what browsers show of a certificate.
func fingerprint(cert *tls.Certificate) string {
	sum := sha256.Sum256(cert.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// certificateFiles are a certificate and its key, which somebody renews.
type certificateFiles struct {
	cert, key string

	mu     sync.Mutex
	looked time.Time
	stamp  [2]time.Time // when the files were changed
	loaded *tls.Certificate
}

// load returns the certificate as the files have it; while they cannot be read, as they
// had it.
func (f *certificateFiles) load() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded != nil && time.Since(f.looked) < lookAgain {
		return f.loaded, nil
	}
	f.looked = time.Now()
	stamp := [2]time.Time{changed(f.cert), changed(f.key)}
	if f.loaded != nil && stamp == f.stamp {
		return f.loaded, nil
	}
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	switch {
	case err == nil:
		f.loaded, f.stamp = &cert, stamp
	case f.loaded == nil:
		return nil, fmt.Errorf("--http-cert %s, --http-key %s: %w", f.cert, f.key, err)
	}
	return f.loaded, nil
}

// changed is when a file was; the zero time when it cannot be told.
func changed(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
