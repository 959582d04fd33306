package enrol

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/api"
)

func TestTokenIsGoodOnceForOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		text, join := token(t, s, TokenRequest{Service: "voting"})
		first, second := csr(t, newKey(t), x509.CertificateRequest{}), csr(t, newKey(t), x509.CertificateRequest{})
		sign := func(csr []byte) error {
			_, err := s.Sign(from(t, remote()), byToken(text, "voting", csr))
			return err
		}
		if err := sign(first); err != nil {
			t.Fatal(err)
		}
		// Its answer may have been lost.
		if err := sign(first); err != nil {
			t.Errorf("again with the same key: %v", err)
		}
		if err := sign(second); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "token "+join.IDText()+" was used at") ||
			!strings.Contains(err.Error(), "by 10.0.0.7") || !strings.Contains(err.Error(), "token create --service voting") {
			t.Errorf("with another key: %v, want PERMISSION_DENIED that says when and by whom", err)
		}
		time.Sleep(retryWithin + time.Second)
		if err := sign(first); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "was used for this key") {
			t.Errorf("with the same key, much later: %v", err)
		}
		tokens, err := s.ListTokens()
		if err != nil || len(tokens) != 1 || tokens[0].Used != 1 || tokens[0].Redemptions[0].Peer != "10.0.0.7" {
			t.Errorf("listed as %+v, %v", tokens, err)
		}
		time.Sleep(keptFor)
		if tokens, err := s.ListTokens(); err != nil || len(tokens) != 0 {
			t.Errorf("a day later: %+v, %v, want none", tokens, err)
		}
		token(t, s, TokenRequest{Service: "web"})
		if all, err := s.config.Tokens.Tokens(); err != nil || len(all) != 1 {
			t.Errorf("%d are kept, want the new one", len(all))
		}
	})
}

func TestTokenRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		key := csr(t, newKey(t), x509.CertificateRequest{})
		office := netip.MustParsePrefix("192.168.0.0/16")
		expired, _ := token(t, s, TokenRequest{Service: "voting", TTL: minute})
		elsewhere, _ := token(t, s, TokenRequest{Service: "voting", CIDRs: []netip.Prefix{office}})
		revoked, join := token(t, s, TokenRequest{Service: "voting"})
		if err := s.RevokeToken(join.IDText()); err != nil {
			t.Fatal(err)
		}
		good, _ := token(t, s, TokenRequest{Service: "voting"})
		guessed := join
		guessed.Secret[0] ^= 1
		unknown := join
		unknown.ID[0] ^= 1
		time.Sleep(minute + time.Second)
		texts := map[string]string{}
		for name, test := range map[string]struct{ text, service, want string }{
			"expired":                {expired, "voting", "expired at 2000-01-01T00:01:00Z, 1s ago"},
			"from another network":   {elsewhere, "voting", "may not be used from 10.0.0.7, only from [192.168.0.0/16]"},
			"revoked":                {revoked, "voting", "was revoked"},
			"of another service":     {good, "web", `is for the service "voting"`},
			"with another secret":    {guessed.Reveal(), "voting", "is not known"},
			"that was never created": {unknown.Reveal(), "voting", "is not known"},
			"cut short":              {good[:30], "voting", "paste the whole line"},
		} {
			_, err := s.Sign(from(t, remote()), byToken(test.text, test.service, key))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("a token %s: %v, want an error with %q", name, err, test.want)
				continue
			}
			texts[name] = err.Error()
			if secret := strings.Split(good, ".")[2]; strings.Contains(err.Error(), secret) {
				t.Errorf("a token %s: the error holds the secret", name)
			}
		}
		if texts["with another secret"] != texts["that was never created"] {
			t.Error("who guesses ids can tell which exist")
		}
	})
}

func TestTokenIDIsNoFlag(t *testing.T) {
	for range 1_000 {
		if id := newJoin("127.0.0.1:1", [api.TokenPinSize]byte{}).IDText(); !unicode.IsLetter(rune(id[0])) {
			t.Fatalf("xdsserver token revoke %s takes the id for a flag", id)
		}
	}
}

func TestTokenIsUsedFromItsNetworkOnly(t *testing.T) {
	s := newServer(t)
	text, _ := token(t, s, TokenRequest{Service: "voting", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
	key := csr(t, newKey(t), x509.CertificateRequest{})
	mapped := remote()
	mapped.Addr = &net.TCPAddr{IP: net.ParseIP("::ffff:10.0.1.7"), Port: 1}
	if _, err := s.Sign(from(t, mapped), byToken(text, "", key)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("from outside: %v", err)
	}
	// Over a unix socket there is no network it could be in.
	if _, err := s.Sign(from(t, local()), byToken(text, "", key)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("over the socket: %v", err)
	}
	mapped.Addr = &net.TCPAddr{IP: net.ParseIP("::ffff:10.0.0.7"), Port: 1}
	if _, err := s.Sign(from(t, mapped), byToken(text, "", key)); err != nil {
		t.Errorf("from inside: %v", err)
	}
}

func TestOfManyWhoRedeemAtOnceSoManySucceedAsMay(t *testing.T) {
	for _, uses := range []int{1, 3} {
		// Two servers, as after an upgrade that overlaps: the store decides.
		tokens := openStore(t, t.TempDir())
		var servers [2]*Server
		for i := range servers {
			servers[i] = newServer(t, func(c *Config) { c.Tokens = tokens })
			servers[i].limits = unlimited()
		}
		request := TokenRequest{Service: "voting", Uses: uses}
		if uses > 1 {
			request.CIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}
		text, _ := token(t, servers[0], request)
		var good, refused atomic.Int64
		var wait sync.WaitGroup
		for i := range 100 {
			ctx, key := from(t, remote()), csr(t, newKey(t), x509.CertificateRequest{})
			wait.Go(func() {
				switch _, err := servers[i%2].Sign(ctx, byToken(text, "voting", key)); {
				case err == nil:
					good.Add(1)
				case status.Code(err) == codes.PermissionDenied:
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if good.Load() != int64(uses) || good.Load()+refused.Load() != 100 {
			t.Errorf("%d uses: %d succeeded and %d were refused", uses, good.Load(), refused.Load())
		}
		if listed, err := servers[1].ListTokens(); err != nil || len(listed) != 1 || listed[0].Used != uses {
			t.Errorf("%d uses: listed as %+v, %v", uses, listed, err)
		}
	}
}

// A token of many uses stays one that the store takes.
func TestTokenOfTheMostUsesCanBeUsedUp(t *testing.T) {
	tokens := openStore(t, t.TempDir())
	r := &record{Service: "voting", Created: time.Now(), Expires: time.Now().Add(maxTTL), Uses: maxUses, Proof: Hash{1}}
	for range maxCIDRs {
		r.CIDRs = append(r.CIDRs, netip.MustParsePrefix("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128"))
	}
	for i := range maxUses {
		r.Redemptions = append(r.Redemptions, Redemption{At: time.Now(), Peer: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Key: Hash{byte(i), byte(i >> 8)}})
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := tokens.UpdateToken("full", func([]byte) ([]byte, error) { return b, nil }); err != nil {
		t.Error(err)
	}
	if len(b) > 256<<10 {
		t.Errorf("its record has %d bytes, and is written whole with each use", len(b))
	}
}

// A disk that fails after the record was written, or before, gives nobody a
// certificate: the same process comes again.
func TestTokenWhoseUseCannotBeRecordedIsNotSigned(t *testing.T) {
	broken := &brokenTokens{TokenStore: NewMemoryTokens()}
	s := newServer(t, func(c *Config) { c.Tokens = broken })
	text, _ := token(t, s, TokenRequest{Service: "voting"})
	key, thief := csr(t, newKey(t), x509.CertificateRequest{}), csr(t, newKey(t), x509.CertificateRequest{})
	broken.fail = true
	if _, err := s.Sign(from(t, remote()), byToken(text, "", key)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "cannot be recorded") {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	// It is there, but was not acknowledged: coming again waits for that.
	if _, err := s.Sign(from(t, remote()), byToken(text, "", key)); status.Code(err) != codes.Unavailable {
		t.Errorf("again: got %v, want UNAVAILABLE", err)
	}
	broken.fail = false
	if _, err := s.Sign(from(t, remote()), byToken(text, "", thief)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another key: got %v, want PERMISSION_DENIED", err)
	}
	if _, err := s.Sign(from(t, remote()), byToken(text, "", key)); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// brokenTokens writes and does not acknowledge it.
type brokenTokens struct {
	TokenStore

	fail bool
}

func (b *brokenTokens) UpdateToken(id string, change func([]byte) ([]byte, error)) error {
	err := b.TokenStore.UpdateToken(id, change)
	if err == nil && b.fail {
		return errors.New("no space left on device")
	}
	return err
}

func TestTokenThatIsDamagedIsOfNoUse(t *testing.T) {
	s := newServer(t)
	text, join := token(t, s, TokenRequest{Service: "voting"})
	for _, damage := range []string{"{}", "nonsense", `{"service":"voting","uses":1,"expires":"2999-01-01T00:00:00Z"}`} {
		if err := s.config.Tokens.UpdateToken(join.IDText(), func([]byte) ([]byte, error) { return []byte(damage), nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sign(from(t, remote()), byToken(text, "", csr(t, newKey(t), x509.CertificateRequest{}))); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: got %v, want PERMISSION_DENIED", damage, err)
		}
	}
}

func TestCreateTokenRefusesWhatIsFoundInAnImageOneDay(t *testing.T) {
	s := newServer(t)
	for name, test := range map[string]struct {
		request TokenRequest
		want    string
	}{
		"no service":              {TokenRequest{}, "want a name"},
		"a service that is none":  {TokenRequest{Service: "Voting"}, "want a name"},
		"the default namespace":   {TokenRequest{Service: "voting.default"}, "want a name"},
		"many uses from anywhere": {TokenRequest{Service: "voting", Uses: 2}, "add --cidr"},
		"two days from anywhere":  {TokenRequest{Service: "voting", TTL: 48 * time.Hour}, "add --cidr"},
		"a year":                  {TokenRequest{Service: "voting", TTL: 365 * 24 * time.Hour}, "want up to 720h0m0s"},
		"a network of nothing":    {TokenRequest{Service: "voting", CIDRs: []netip.Prefix{{}}}, "want each as in"},
		"IPv4 in IPv6":            {TokenRequest{Service: "voting", CIDRs: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}, "want each as in"},
		"uses without end":        {TokenRequest{Service: "voting", Uses: 1 << 30}, "want 1 to 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			test.request.Address = "10.0.0.5:18000"
			if _, _, err := s.CreateToken(t.Context(), test.request); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want INVALID_ARGUMENT with %q", err, test.want)
			}
		})
	}
	if _, _, err := s.CreateToken(t.Context(), TokenRequest{Service: "voting", Address: "nowhere"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no address: %v", err)
	}
	if err := s.RevokeToken("nothing"); status.Code(err) != codes.NotFound {
		t.Errorf("revoke nothing: %v, want NOT_FOUND", err)
	}
}

func TestSecretIsStoredAsAHashOnly(t *testing.T) {
	s := newServer(t)
	text, join := token(t, s, TokenRequest{Service: "voting"})
	all, err := s.config.Tokens.Tokens()
	if err != nil {
		t.Fatal(err)
	}
	record := string(all[join.IDText()])
	plain, err := json.Marshal(join.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(record, strings.Split(text, ".")[2]) || strings.Contains(record, string(plain)) {
		t.Errorf("the record holds the secret: %s", record)
	}
}

// Whatever a disk gives back, it is a whole token or an error.
func FuzzTokenRecord(f *testing.F) {
	s := newServer(f)
	_, join := token(f, s, TokenRequest{Service: "voting"})
	all, err := s.config.Tokens.Tokens()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all[join.IDText()])
	f.Add([]byte(`{"service":"voting","uses":1,"expires":"2026-01-01T00:00:00Z","redemptions":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil || r == nil {
			return
		}
		if r.Service == "" || r.Uses < 1 {
			t.Errorf("read %+v", r)
		}
		r.stale(time.Now())
		r.token("x")
		again, err := json.Marshal(r)
		if err != nil {
			return // a year that JSON has not
		}
		if r2, err := decode(again); err != nil || len(r2.Redemptions) != len(r.Redemptions) || r2.Proof != r.Proof {
			t.Errorf("%s is read as %+v, %v", again, r2, err)
		}
	})
}
