package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestReplicasGoOnWithoutWhatTheyShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		log := &logged{}
		r := newReplicas(t, s, func(c *Config) { hours(c); c.Logger = log.logger() })
		r.start("east", "west")
		r.live(10*time.Second, time.Second)
		s.set(func() { s.away = true })
		r.live(90*time.Minute, 5*time.Minute) // their own certificates are renewed meanwhile
		for name, ca := range r.cas {
			if got := ca.Status().Problem; !strings.Contains(got, "cannot be reached, this one goes on with what it knows") || !strings.Contains(got, errAway.Error()) {
				t.Errorf("problem of %s: %q", name, got)
			}
		}
		if n := strings.Count(log.String(), "cannot be kept up"); n > 4 {
			t.Errorf("logged %d times", n)
		}
		// One that starts again does so from its copy, and alone.
		r.stop("east")
		r.stop("west")
		began := time.Now()
		r.start("west")
		if took := time.Since(began); took > time.Second {
			t.Errorf("started after %v", took)
		}
		r.live(10*time.Minute, time.Minute)
		if got := r.cas["west"].Status().Problem; !strings.Contains(got, "cannot be reached") {
			t.Errorf("problem %q", got)
		}
		s.set(func() { s.away = false })
		r.start("east")
		r.live(10*time.Second, time.Second)
		r.calm()
		// One that has no copy says what it misses.
		s.set(func() { s.away = true })
		_, err := r.open("north")
		wantError(t, err, "cannot be used for 30s", "holds no copy", errAway.Error())
	})
}

func TestAnAuthorityThatCannotSignWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMemory()
		ca, err := openOn(disk, func(c *Config) { c.Dir = "elsewhere" })
		must(t, err)
		must(t, disk.remove("root.key"))
		run(t, ca)
		// It must not look again and again: in a bubble that would never end.
		time.Sleep(31 * 24 * time.Hour)
		synctest.Wait()
		if got := ca.Status().Problem; !strings.Contains(got, "expired at 2000-01-31T00:00:00Z") {
			t.Errorf("problem %q", got)
		}
	})
}

func TestAReplicaWithoutAnIntermediateSaysWhatToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := newReplicas(t, s, nil)
		r.start("east")
		r.stop("east")
		time.Sleep(beatMost + time.Second)
		began := time.Now()
		_, err := r.open("west")
		wantError(t, err, "the replica west has no intermediate", "is up: start east, which has it", "'xdsserver ca export-root' there and 'xdsserver ca import' here", "waited for 30s")
		if took := time.Since(began); took < joinMost || took > joinMost+time.Second {
			t.Errorf("waited for %v", took)
		}
		// It has a copy of the state, so that the key can be imported.
		key, err := r.disks["east"].read("root-1-east.key")
		must(t, err)
		must(t, r.disks["west"].write("root-1-east.key", key))
		r.start("west")
		r.check()
		if st := r.cas["west"].Status(); !st.RootOnline || st.Problem != "" {
			t.Errorf("status %+v", st)
		}
		// A second holder takes over: it signs for a third.
		r.start("north")
		r.check()
		_, err = openOn(newMemory(), func(c *Config) { c.Shared, c.Replica, c.TrustDomain = s, "south", "other.org" })
		wantError(t, err, "is of the trust domain tulle.local, not other.org")
		_, err = openOn(newMemory(), func(c *Config) { c.Shared, c.Replica = s, "So.uth" })
		wantError(t, err, "Config.Replica")
		_, err = openOn(r.disks["west"], nil)
		wantError(t, err, "is a copy of a state that several xdsservers share")
	})
}

func TestOnlyWhoLeadsDoesTheStepsOfTheRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leads atomic.Bool
		leads.Store(true)
		r := newReplicas(t, newShelf(), func(c *Config) {
			minutes(c)
			if c.Replica == "east" {
				c.Leads = leads.Load
			}
		})
		r.start("east")
		leads.Store(false)
		_, err := r.open("west")
		wantError(t, err, "east has the key of root-1-east, and has not signed one yet")
		wantError(t, r.cas["east"].Rotate(context.Background(), Root), "another xdsserver leads")
		leads.Store(true)
		r.start("west")
		must(t, r.cas["east"].Rotate(context.Background(), Root))
		leads.Store(false)
		r.live(20*time.Second, time.Second)
		if got := r.cas["west"].Status().Roots[0].Name; got != "root-1-east" {
			t.Errorf("%s was activated by nobody who leads", got)
		}
		leads.Store(true)
		r.live(40*time.Second, time.Second)
		r.calm()
		if got := r.cas["west"].Trust().Bundle.Roots(); len(got) != 1 {
			t.Errorf("%d roots", len(got))
		}
	})
}

func TestTwoHoldersOfTheRootsKeyDoEachStepOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := newReplicas(t, s, func(c *Config) {
			c.LeafTTL, c.IntermediateTTL, c.RootTTL = 2*time.Minute, 10*time.Minute, 2*time.Hour
		})
		r.start("east")
		key, err := r.disks["east"].read("root-1-east.key")
		must(t, err)
		r.start("west", "north")
		must(t, r.disks["west"].write("root-1-east.key", key))
		r.live(78*time.Minute, 17*time.Second)
		if st := r.cas["west"].Status(); !st.RootOnline {
			t.Error("west has not noticed the key")
		}
		// At 80 minutes both are to make a root, at the same moment.
		r.live(10*time.Minute, 3*time.Second)
		r.calm()
		st := s.state(t)
		if len(st.Roots) != 1 || !strings.HasPrefix(st.Roots[0].Name, "root-2-") || st.Generation != 4 {
			t.Errorf("roots %+v, generation %d, want the second of two, and no third", st.Roots, st.Generation)
		}
		for _, name := range []string{"east", "west"} {
			if got := names(r.disks[name].(*memory)); strings.Contains(strings.Join(got, " "), "root-1-east.key") {
				t.Errorf("%s keeps the key of a root that is gone: %q", name, got)
			}
		}
	})
}

func TestAPreparedRootWhoseKeyIsGoneIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := newReplicas(t, s, func(c *Config) {
			c.LeafTTL, c.IntermediateTTL, c.RootTTL = 2*time.Minute, 10*time.Minute, 200*time.Minute
		})
		r.start("east")
		key, err := r.disks["east"].read("root-1-east.key")
		must(t, err)
		r.start("west")
		must(t, r.disks["west"].write("root-1-east.key", key))
		must(t, r.cas["east"].Rotate(context.Background(), Root))
		r.stop("east") // for good
		r.live(19*time.Minute, 30*time.Second)
		if got := len(r.cas["west"].Trust().Bundle.Roots()); got != 2 {
			t.Errorf("given up early: %d roots", got)
		}
		r.live(2*time.Minute, 30*time.Second)
		if got := r.cas["west"].Status(); len(got.Roots) != 1 || got.Generation != 3 {
			t.Errorf("%+v", got.Roots)
		}
		must(t, r.cas["west"].Rotate(context.Background(), Root))
		r.live(20*time.Minute, 30*time.Second)
		r.calm()
		if got := r.cas["west"].Status().Roots; len(got) != 1 || got[0].Name != "root-3-west" {
			t.Errorf("roots %+v", got)
		}
	})
}

func TestAReplicaWhoseFolderIsLostBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, newShelf(), minutes)
		r.start("east", "west")
		r.check()
		r.stop("west")
		r.disks["west"] = newMemory()
		r.start("west")
		r.live(time.Minute, time.Second)
		r.calm()
		r.tidy(r.shelf.(*shelf))
	})
}

func TestTwoReplicasOfOneNameAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, newShelf(), minutes)
		r.start("east", "west")
		twin, err := openOn(newMemory(), func(c *Config) { minutes(c); c.Shared, c.Replica = r.shelf, "west" })
		must(t, err)
		stop := run(t, twin)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := r.cas["west"].Status().Problem; !strings.Contains(got, `another xdsserver is the replica "west", too`) {
			t.Errorf("problem %q", got)
		}
		stop()
		time.Sleep(2 * beatMost)
		synctest.Wait()
		r.calm()
	})
}

func TestAFoldersOwnTrustDomainBecomesSharedAndStaysTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMemory()
		ca, err := openOn(disk, hours)
		must(t, err)
		leaf, pin := issue(t, ca), TokenPin(ca)
		for at := range 8 { // a crash does not make two of it
			d := &doomed{}
			d.left.Store(int64(at))
			s := newShelf()
			copied := newMemory()
			for name, data := range disk.files {
				must(t, copied.write(name, data))
			}
			r := newReplicas(t, s, hours)
			r.seen["east"], r.disks["east"] = doomedShelf{s, d}, doomedDisk{copied, d}
			r.attempt("east")
			if r.cas["east"] != nil {
				r.stop("east")
			}
			r.seen["east"], r.disks["east"] = nil, copied
			r.start("east", "west")
			r.live(5*time.Second, time.Second)
			verifies(t, r.cas["west"].Trust().Bundle, leaf)
			if TokenPin(r.cas["west"]) != pin {
				t.Error("another root")
			}
			r.calm()
			other := newMemory()
			_, err := openOn(other, hours)
			must(t, err)
			_, err = openOn(other, func(c *Config) { hours(c); c.Shared, c.Replica = s, "north" })
			wantError(t, err, "has a trust domain of its own", "move the folder away")
			r.stop("east")
			r.stop("west")
			_, err = openOn(r.disks["west"], func(c *Config) { hours(c); c.Shared, c.Replica = newShelf(), "west" })
			must(t, err) // a new store: the state is put back
		}
	})
}

func TestAStoreThatLostSomethingIsPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := newReplicas(t, s, minutes)
		r.start("east", "west")
		r.live(5*time.Second, time.Second)
		raw, _, err := s.Read(stateFile)
		must(t, err)
		must(t, r.cas["east"].Rotate(context.Background(), Root))
		r.live(15*time.Second, time.Second)
		s.set(func() { s.index++; s.values[stateFile] = shelved{raw, s.index} }) // a backup
		r.live(20*time.Second, time.Second)
		r.calm()
		if got := r.cas["west"].Status().Roots[0].Name; got != "root-2-east" {
			t.Errorf("%s is active", got)
		}
		s.set(func() { s.values = map[string]shelved{} }) // all is gone
		r.live(time.Minute, time.Second)
		r.calm()
		// Another trust domain in its place is none of theirs.
		s.set(func() { s.values = map[string]shelved{} })
		fresh, err := openOn(newMemory(), func(c *Config) { minutes(c); c.Shared, c.Replica = s, "north" })
		must(t, err)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := r.cas["west"].Status().Problem; !strings.Contains(got, "are of two authorities of one trust domain") {
			t.Errorf("problem %q", got)
		}
		if r.cas["west"].Trust().Bundle.Equal(fresh.Trust().Bundle) {
			t.Error("west took a trust domain that is not its own")
		}
	})
}

// requestWith makes a request that is signed by a key.
func requestWith(t testing.TB, key any, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: pemRequest, Bytes: der})
}

func hostileRequests(t testing.TB) map[string]struct {
	data []byte
	want string
} {
	key := newKey(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	good := requestWith(t, key, &x509.CertificateRequest{})
	forged, _ := pem.Decode(good)
	forged.Bytes[len(forged.Bytes)-1] ^= 1
	ca := []byte{0x30, 0x03, 0x01, 0x01, 0xff} // BasicConstraints{cA: TRUE}
	return map[string]struct {
		data []byte
		want string
	}{
		"nothing":          {nil, "is not one request"},
		"a key":            {[]byte("-----BEGIN EC KEY-----\nMAA=\n-----END EC KEY-----\n"), "is not one request"},
		"two requests":     {append(bytes.Clone(good), good...), "is not one request"},
		"no request in it": {[]byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"), "cannot be read"},
		"a megabyte":       {bytes.Repeat([]byte("x"), 1<<20), "want"},
		"a bit too much":   {append(bytes.Clone(good), bytes.Repeat([]byte(" "), maxRequest)...), "want 4096 at most"},
		"another curve":    {requestWith(t, p384, &x509.CertificateRequest{}), "another kind than ECDSA P-256"},
		"a bad signature":  {pem.EncodeToMemory(forged), "does not prove"},
		"a CA's extension": {requestWith(t, key, &x509.CertificateRequest{
			ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: ca}},
		}), "asks for names or extensions"},
		"xdsserver's identity": {requestWith(t, key, &x509.CertificateRequest{
			URIs: []*url.URL{{Scheme: "spiffe", Host: domain, Path: "/xdsserver"}},
		}), "asks for names or extensions"},
		"a name": {requestWith(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}), "asks for names or extensions"},
	}
}

func TestAHostileRequestIsRefusedAndStopsNobodyElse(t *testing.T) {
	for name, test := range hostileRequests(t) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf()
				log := &logged{}
				r := newReplicas(t, s, func(c *Config) { c.Logger = log.logger() })
				r.start("east")
				st := s.state(t)
				st.Intermediates = append(st.Intermediates,
					record{Name: "intermediate-2-evil", Root: "root-1-east", Replica: "evil", Phase: Requested},
					record{Name: "intermediate-3-void", Root: "root-1-east", Replica: "void", Phase: Requested})
				st.MadeIntermediates, st.Revision = 3, st.Revision+1
				s.set(func() {
					s.values["intermediate-2-evil.csr"] = shelved{test.data, 100}
					s.values[stateFile] = shelved{st.encode(), 101}
					s.index = 101
				})
				r.start("west")
				r.check()
				r.calm()
				if got := s.state(t); got.names("intermediate-2-evil") || got.names("intermediate-3-void") {
					t.Errorf("the requests are still there: %+v", got.Intermediates)
				}
				if _, _, err := s.Read("intermediate-2-evil.csr"); err == nil {
					t.Error("the request is still there")
				}
				if !strings.Contains(log.String(), test.want) || strings.Contains(log.String(), strings.Repeat("x", 100)) {
					t.Errorf("log %s", log)
				}
			})
		})
	}
}

func TestASignedRequestTakesNothingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, newShelf(), nil)
		r.start("east", "west")
		cert := issue(t, r.cas["west"])[1]
		own := issue(t, r.cas["east"])[1]
		if cert.MaxPathLen != 0 || !cert.MaxPathLenZero || !cert.IsCA || cert.URIs[0].String() != own.URIs[0].String() ||
			cert.KeyUsage != own.KeyUsage || len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.ExtKeyUsage) != 0 {
			t.Errorf("%+v", cert)
		}
	})
}

func TestDamageToAnothersIntermediateStopsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := newReplicas(t, s, minutes)
		r.start("east", "west")
		s.set(func() {
			v := s.values["intermediate-2-west.pem"]
			v.data = []byte("garbage")
			s.values["intermediate-2-west.pem"] = v
		})
		r.start("north") // which has no copy of it yet
		r.live(time.Minute, time.Second)
		r.calm()
	})
}

func FuzzRequest(f *testing.F) {
	for _, test := range hostileRequests(f) {
		if len(test.data) <= maxRequest {
			f.Add(test.data)
		}
	}
	good, err := encodeRequest(newKey(f))
	must(f, err)
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := decodeRequest(data)
		if (err == nil) != (key != nil) {
			t.Errorf("key %v, error %v", key, err)
		}
		if err == nil && key.Curve != elliptic.P256() {
			t.Error("a key of another curve")
		}
	})
}

func FuzzBeat(f *testing.F) {
	f.Add(beat{Replica: "east", Process: "x", Acknowledged: 3, Holds: []string{"root-1-east"}, Count: 7}.encode())
	f.Add([]byte(`{"replica":"west"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := decodeBeat(data, "east")
		if err == nil && b.Replica != "east" {
			t.Errorf("taken for that of east: %+v", b)
		}
		if again, err2 := decodeBeat(b.encode(), "east"); err == nil && err2 == nil && again.Count != b.Count {
			t.Error("not read again")
		}
	})
}

func FuzzSharedState(f *testing.F) {
	s := newShelf()
	ca, err := openOn(newMemory(), func(c *Config) { c.Shared, c.Replica = s, "east" })
	must(f, err)
	must(f, ca.Rotate(context.Background(), Root))
	raw, _, err := s.Read(stateFile)
	must(f, err)
	f.Add(raw, "east")
	f.Add(bytes.ReplaceAll(raw, []byte(`"prepared"`), []byte(`"requested"`)), "west")
	f.Fuzz(func(t *testing.T, data []byte, replica string) {
		st, err := decodeState(data)
		if err != nil || st.Creating || st.Authority == "" || !validReplica(replica) {
			return
		}
		now := time.Now()
		p := pace{leaf: time.Hour, intermediate: time.Hour, root: time.Hour}
		m := moment{now: now, running: now, online: true, replica: replica, leads: true, holds: map[string]bool{}, lost: map[string]bool{}}
		for i := range st.Roots {
			m.holds[st.Roots[i].Name] = i%2 == 0
		}
		_, _ = st.plan(p, m)
		v := &view{state: st, replica: replica, certs: map[string]*issuer{}}
		_ = v.issuing()
		_, _ = v.status(newStoredKeys())
		for _, file := range []string{"root-1-east.key", "intermediate-9-west.pem"} {
			_ = st.over(strings.TrimSuffix(file, extKey))
		}
	})
}

func newStoredKeys() Keys { return &storedKeys{files: newMemory()} }
