package sidecar

import (
	"context"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"text/template"
	"time"

	"github.com/tulle-mesh/tulle/bench/proc"
)

// A proxy is one process of a Pair.
type proxy struct {
	*proc.Process

	// pid is that of the program, where Process is its keeper.
	pid     int
	address string
}

// keeper runs a program and answers with its process id. It makes of a program that knows
// nothing of its standard input one that ends with it, as package proc asks, and at once:
// no proxy outlives the benchmark, even if that is killed. An interrupt from the terminal is
// the benchmark's to act on.
const keeper = `trap "" INT HUP
"$@" >&2 & pid=$!
while read -r _; do echo "{\"value\":$pid}"; done
kill -KILL $pid; wait $pid; exit 0`

//go:embed config
var configs embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"host": func(address string) string { host, _, _ := net.SplitHostPort(address); return host },
	"port": func(address string) string { _, port, _ := net.SplitHostPort(address); return port },
	// der is a URI as a certificate has it among its alternative names (RFC 5280 section
	// 4.2.1.6): tag 6 of the context, the length, the text.
	"der": func(uri string) string {
		return strings.ToUpper(hex.EncodeToString(append([]byte{0x86, byte(len(uri))}, uri...)))
	},
}).ParseFS(configs, "config/*"))

// start runs a proxy of a side, "client" or "server", configured in a file at the given path
// without its ending, and returns when it listens.
func (p program) start(ctx context.Context, path, side string, s settings) (*proxy, error) {
	name := fmt.Sprintf("%s, %s's", p.name, side)
	config := path + p.ending
	s.Bundle = path + ".pem"
	if err := errors.Join(s.bundle(s.Bundle), write(config, p.name+"-"+side+p.ending, s)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	process, err := proc.Start(name, "sh", append(append([]string{"-c", keeper, p.name, p.path}, p.args...), config))
	if err != nil {
		return nil, err
	}
	x := &proxy{Process: process, address: s.Listen}
	if err = process.Ask("pid", nil, &x.pid); err == nil {
		err = x.await(ctx)
	}
	if err != nil {
		_ = x.Close()
		return nil, err
	}
	return x, nil
}

func write(path, template string, s settings) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := templates.ExecuteTemplate(f, template, s); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// patience is how long a proxy may take until it listens.
const patience = 20 * time.Second

// await returns when the proxy listens.
func (x *proxy) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", x.address)
		if err == nil {
			return conn.Close()
		}
		if _, err := x.usage(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %w; it said: %s", x.Name, ctx.Err(), x.Said())
		case <-again.C:
		}
	}
}

func (x *proxy) usage() (proc.Usage, error) {
	u, err := proc.UsageOf(x.pid)
	if err != nil {
		return u, fmt.Errorf("%s has ended: %w; it said: %s", x.Name, err, x.Said())
	}
	return u, nil
}

// freeAddresses are of loopback, and nobody listens there yet.
func freeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// Open until all are found, so that no two are the same.
		defer lis.Close()
		addresses[i] = lis.Addr().String()
	}
	return addresses, nil
}
