//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/youmark/pkcs8"
)

// onDisk makes a CA in a folder of its own.
func onDisk(t testing.TB, dir, passphraseFile string) *CA {
	t.Helper()
	ca, err := NewCA(Config{Dir: dir, PassphraseFile: passphraseFile, Logger: quiet})
	must(t, err)
	return ca
}

func freshDir(t testing.TB) string { return filepath.Join(t.TempDir(), "ca") }

// secretFile holds text and is nobody else's.
func secretFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestFilesOfACAAreNobodyElses(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := freshDir(t)
	onDisk(t, dir, "")
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("folder has mode %o", info.Mode().Perm())
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		got = append(got, e.Name())
	}
	if want := []string{"intermediate.key", "intermediate.pem", "root.key", "root.pem", "state.json"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestARestartGoesOnWithWhatIsThere(t *testing.T) {
	dir := freshDir(t)
	first := onDisk(t, dir, "")
	chain := issue(t, first)
	second := onDisk(t, dir, "")
	verifies(t, second.Trust().Bundle, chain)
	if !issue(t, second)[1].Equal(chain[1]) {
		t.Error("another intermediate")
	}
	if got := second.Trust().Generation; got != 1 {
		t.Errorf("generation %d, want 1", got)
	}
}

func TestAFolderThatIsUnsafeOrDamagedIsRefusedWithWhatToDo(t *testing.T) {
	in := func(name string, do func(path string) error) func(string) error {
		return func(dir string) error { return do(filepath.Join(dir, name)) }
	}
	chmod := func(mode os.FileMode) func(string) error {
		return func(path string) error { return os.Chmod(path, mode) }
	}
	cut := func(path string) error { return os.Truncate(path, 100) }
	swap := func(a, b string) func(string) error {
		return func(dir string) error {
			a, b, c := filepath.Join(dir, a), filepath.Join(dir, b), filepath.Join(dir, "c")
			return errorsOf(os.Rename(a, c), os.Rename(b, a), os.Rename(c, b))
		}
	}
	link := func(path string) error {
		return errorsOf(os.Rename(path, path+".real"), os.Symlink(path+".real", path))
	}
	for name, test := range map[string]struct {
		damage func(dir string) error
		want   []string
	}{
		"a folder that others may look into":        {chmod(0o750), []string{"other users have access to", "mode 0750", "run chmod 700 "}},
		"a root key that a group may read":          {in("root.key", chmod(0o640)), []string{"mode 0640", "run chmod 600 ", "root.key"}},
		"a root key that the world may read":        {in("root.key", chmod(0o604)), []string{"mode 0604", "run chmod 600 ", "root.key"}},
		"an intermediate key that others may write": {in("intermediate.key", chmod(0o622)), []string{"run chmod 600 ", "intermediate.key"}},
		"a state that others may write":             {in("state.json", chmod(0o666)), []string{"run chmod 600 ", "state.json"}},
		"a key that is a symbolic link":             {in("root.key", link), []string{"root.key is a symbolic link", "put the file itself in its place"}},
		"a certificate that is a symbolic link":     {in("root.pem", link), []string{"root.pem is a symbolic link"}},
		"a folder for a key":                        {in("root.key", func(p string) error { return errorsOf(os.Remove(p), os.Mkdir(p, 0o700)) }), []string{"root.key is no regular file"}},
		"a key that is cut off":                     {in("root.key", cut), []string{"root.key holds no whole private key", "put it back from a backup"}},
		"an empty key":                              {in("intermediate.key", func(p string) error { return os.Truncate(p, 0) }), []string{"intermediate.key holds no whole private key"}},
		"a certificate that is cut off":             {in("intermediate.pem", cut), []string{"intermediate.pem holds no whole certificate", "put it back from a backup"}},
		"a state that is cut off":                   {in("state.json", cut), []string{"state.json cannot be read, it may be truncated"}},
		"a state that is gone":                      {in("state.json", os.Remove), []string{"state.json is not", "move the folder away to begin a new trust domain"}},
		"an intermediate's key that is gone":        {in("intermediate.key", os.Remove), []string{"intermediate.key is missing: put it back from a backup"}},
		"a root certificate that is gone":           {in("root.pem", os.Remove), []string{"root.pem", "no such file"}},
		"keys that are swapped":                     {swap("root.key", "intermediate.key"), []string{"intermediate.key is not the key of"}},
		"certificates that are swapped":             {swap("root.pem", "intermediate.pem"), []string{"root.pem is no root"}},
		"a file where the folder should be": {
			func(dir string) error { return errorsOf(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) },
			[]string{"not a directory"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := freshDir(t)
			onDisk(t, dir, "")
			must(t, test.damage(dir))
			before := contents(t, dir)
			_, err := NewCA(Config{Dir: dir, Logger: quiet})
			wantError(t, err, test.want...)
			if after := contents(t, dir); after != before {
				t.Errorf("files were changed:\n%s\n%s", before, after)
			}
		})
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// contents is all that is in a folder.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %v %x\n", path, info.Mode(), data)
		return err
	}))
	return b.String()
}

func TestAnotherUsersFilesAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := secretFile(t, "x")
	must(t, os.Chown(path, 1234, 1234))
	if _, err := readPrivate(path); err != nil {
		t.Errorf("root may use what belongs to others: %v", err)
	}
	// The kernel holds the rule for others; here its text is of interest.
	info, err := os.Stat(path)
	must(t, err)
	must(t, checkPrivate(path, info, 0o600))
}

func TestRootWritesForTheFoldersOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := freshDir(t)
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.Chown(dir, 1234, 1235))
	onDisk(t, dir, "")
	info, err := os.Stat(filepath.Join(dir, "root.key"))
	must(t, err)
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 1234 || s.Gid != 1235 {
		t.Errorf("root.key belongs to %d:%d, who cannot read it", s.Uid, s.Gid)
	}
}

func TestPassphraseEncryptsEveryKey(t *testing.T) {
	dir, pass := freshDir(t), secretFile(t, "correct horse\nsecond line\n")
	chain := issue(t, onDisk(t, dir, pass))
	for _, name := range []string{"root.key", "intermediate.key"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if !bytes.HasPrefix(data, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----")) {
			t.Errorf("%s begins with %.40q", name, data)
		}
	}
	verifies(t, onDisk(t, dir, pass).Trust().Bundle, chain)
	if openssl, err := exec.LookPath("openssl"); err == nil {
		out, err := exec.Command(openssl, "pkey", "-in", filepath.Join(dir, "root.key"), "-passin", "file:"+pass, "-noout", "-text").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "prime256v1") {
			t.Errorf("openssl does not read it: %v\n%s", err, out)
		}
	}
	for name, test := range map[string]struct{ passphrase, want string }{
		"another passphrase": {secretFile(t, "battery staple"), "cannot be decrypted: it has another passphrase than the one given"},
		"none":               {"", "is encrypted: name the file that holds its passphrase"},
		"an empty one":       {secretFile(t, "\nsecond line"), "passphrase: the first line of"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewCA(Config{Dir: dir, PassphraseFile: test.passphrase, Logger: quiet})
			wantError(t, err, test.want)
			for _, secret := range []string{"horse", "staple"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error tells the passphrase: %v", err)
				}
			}
		})
	}
	t.Run("one that every user may read", func(t *testing.T) {
		open := secretFile(t, "correct horse")
		must(t, os.Chmod(open, 0o644))
		_, err := NewCA(Config{Dir: dir, PassphraseFile: open, Logger: quiet})
		wantError(t, err, "every user has access to", "run chmod 600 ")
	})
	t.Run("for keys that are not encrypted", func(t *testing.T) {
		open := freshDir(t)
		onDisk(t, open, "")
		_, err := NewCA(Config{Dir: open, PassphraseFile: pass, Logger: quiet})
		wantError(t, err, "is not encrypted, though there is a passphrase", "openssl pkcs8 -topk8")
	})
}

func TestOfManyThatMakeACAInOneFolderOneWins(t *testing.T) {
	dir := freshDir(t)
	var wg sync.WaitGroup
	start := make(chan struct{})
	chains := make([][]*x509.Certificate, 8)
	cas := make([]*CA, len(chains))
	for i := range chains {
		wg.Go(func() {
			<-start
			ca, err := NewCA(Config{Dir: dir, Logger: quiet})
			if err != nil {
				t.Error(err)
				return
			}
			cas[i] = ca
			chains[i] = issue(t, ca)
		})
	}
	close(start)
	wg.Wait()
	for _, ca := range cas {
		for _, chain := range chains {
			verifies(t, ca.Trust().Bundle, chain)
		}
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 5 {
		t.Errorf("%d files, want 5", len(entries))
	}
}

func TestTwoProcessesThatMakeACAInOneFolderShareIt(t *testing.T) {
	if dir := os.Getenv("TULLE_TEST_CA_DIR"); dir != "" { // the child
		onDisk(t, dir, "")
		return
	}
	dir := freshDir(t)
	children := make([]*exec.Cmd, 4)
	for i := range children {
		children[i] = exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		children[i].Env = append(os.Environ(), "TULLE_TEST_CA_DIR="+dir)
		must(t, children[i].Start())
	}
	for _, c := range children {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	if s := onDisk(t, dir, "").Status(); len(s.Roots) != 1 || s.Generation != 1 {
		t.Errorf("%d roots, generation %d", len(s.Roots), s.Generation)
	}
}

// offline makes a CA whose root key is in a file elsewhere.
func offline(t *testing.T) (dir, out string) {
	t.Helper()
	dir, out = freshDir(t), filepath.Join(t.TempDir(), "root-backup.pem")
	onDisk(t, dir, "")
	must(t, ExportRoot(Export{Dir: dir, Out: out, Remove: true}))
	return dir, out
}

func TestARootKeyGoesOfflineAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, out := freshDir(t), filepath.Join(t.TempDir(), "root-backup.pem")
		ca, err := NewCA(Config{Dir: dir, IntermediateTTL: 30 * time.Hour, LeafTTL: time.Hour, Logger: quiet})
		must(t, err)
		run(t, ca)
		must(t, ExportRoot(Export{Dir: dir, Out: out, Remove: true}))
		info, err := os.Stat(out)
		must(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("exported with mode %v", info.Mode())
		}
		time.Sleep(poll)
		synctest.Wait()
		s := ca.Status()
		if s.RootOnline || s.Roots[0].Online || s.IssuesUntil != s.Intermediates[0].NotAfter || s.Problem != "" {
			t.Errorf("status %+v", s)
		}
		wantError(t, ca.Rotate(context.Background(), Root), "the key of root is offline")
		wantError(t, ca.Rotate(context.Background(), Intermediate), "the key of root is offline")
		verifies(t, ca.Trust().Bundle, issue(t, ca))
		verifies(t, ca.Trust().Bundle, issue(t, onDisk(t, dir, ""))) // a restart does without

		time.Sleep(16 * time.Hour)
		synctest.Wait()
		if got := ca.Status().Problem; !strings.Contains(got, "certificates are issued until 2000-01-02T06:00:00Z") {
			t.Errorf("problem %q", got)
		}
		verifies(t, ca.Trust().Bundle, issue(t, ca))

		imported, err := Import(ImportRequest{Dir: dir, Key: out})
		must(t, err)
		if imported != "the key of root" {
			t.Errorf("imported %s", imported)
		}
		time.Sleep(poll)
		synctest.Wait()
		s = ca.Status()
		if !s.RootOnline || s.Problem != "" || s.Intermediates[0].Name != "intermediate-2" || !s.IssuesUntil.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

func TestExportAndImportRefuseWhatWouldLoseAKey(t *testing.T) {
	dir, out := offline(t)
	stranger := freshDir(t)
	onDisk(t, stranger, "")
	strange := filepath.Join(t.TempDir(), "strange.pem")
	must(t, ExportRoot(Export{Dir: stranger, Out: strange}))
	for name, test := range map[string]struct {
		do   func() error
		want string
	}{
		"export over a file": {
			func() error { return ExportRoot(Export{Dir: stranger, Out: out, Remove: true}) },
			"is there already: name a file that is not",
		},
		"export of what is gone": {
			func() error { return ExportRoot(Export{Dir: dir, Out: out + "2"}) }, "it was exported before",
		},
		"export from nowhere": {
			func() error { return ExportRoot(Export{Dir: dir + "x", Out: out + "2"}) }, "no such file",
		},
		"export to nowhere": {
			func() error {
				return ExportRoot(Export{Dir: stranger, Out: filepath.Join(dir, "no", "x"), Remove: true})
			}, "no such file",
		},
		"import of another trust domain's root": {
			func() error { return importKey(dir, "", strange) }, "was not signed by the active root",
		},
		"import of a key without its certificate": {
			func() error { return importKey(dir, "", filepath.Join(stranger, "root.key")) }, "holds no whole certificate",
		},
		"import of a key that is another's": {
			func() error { return importKey(dir, filepath.Join(dir, "root.pem"), strange) }, "is not that of the certificate",
		},
		"import of nothing": {
			func() error { return importKey(dir, "", out+"2") }, "no such file",
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, test.do(), test.want) })
	}
	if !onDisk(t, stranger, "").Status().RootOnline {
		t.Error("a refused export removed the key")
	}
}

func importKey(dir, cert, key string) error {
	_, err := Import(ImportRequest{Dir: dir, Certificate: cert, Key: key})
	return err
}

func TestAnExportedKeyIsEncryptedOnItsOwn(t *testing.T) {
	dir, inside, outside := freshDir(t), secretFile(t, "inside"), secretFile(t, "outside")
	out := filepath.Join(t.TempDir(), "root.pem")
	onDisk(t, dir, inside)
	must(t, ExportRoot(Export{Dir: dir, PassphraseFile: inside, Out: out, OutPassphraseFile: outside, Remove: true}))
	wantError(t, importKey(dir, "", out), "is encrypted")
	_, err := Import(ImportRequest{Dir: dir, PassphraseFile: inside, Key: out, KeyPassphraseFile: outside})
	must(t, err)
	if !onDisk(t, dir, inside).Status().RootOnline {
		t.Error("the key is not back")
	}
}

func TestAnIntermediateThatWasSignedElsewhereTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, out := offline(t)
		ca := onDisk(t, dir, "")
		run(t, ca)
		text, err := os.ReadFile(out)
		must(t, err)
		rootKey, err := decodeKey(text, nil)
		must(t, err)
		roots, err := decodeCertificates(text)
		must(t, err)
		time.Sleep(time.Hour)
		key := newKey(t)
		cert, err := signing{now: time.Now(), ttl: 30 * 24 * time.Hour, key: key.Public(), issuer: roots[0], signer: rootKey}.authority(domain)
		must(t, err)
		keyText, err := encodeKey(key, nil)
		must(t, err)
		both := secretFile(t, string(encodeCertificate(cert))+string(keyText))

		imported, err := Import(ImportRequest{Dir: dir, Key: both})
		must(t, err)
		if imported != "the intermediate-2" {
			t.Errorf("imported %s", imported)
		}
		time.Sleep(poll)
		synctest.Wait()
		if chain := issue(t, ca); !chain[1].Equal(cert) {
			t.Error("leaves come from another intermediate")
		}
		if s := ca.Status(); s.IssuesUntil != cert.NotAfter {
			t.Errorf("issues until %s, want %s", s.IssuesUntil, cert.NotAfter)
		}
		expired, err := signing{now: time.Now().Add(-48 * time.Hour), ttl: 24 * time.Hour, key: key.Public(), issuer: roots[0], signer: rootKey}.authority(domain)
		must(t, err)
		wantError(t, importKey(dir, "", secretFile(t, string(encodeCertificate(expired))+string(keyText))), "and not now")
	})
}

func FuzzKey(f *testing.F) {
	key := newKey(f)
	plain, err := encodeKey(key, nil)
	must(f, err)
	f.Add(plain, []byte(nil))
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"), []byte("x"))
	f.Add(oddlyEncrypted(f), []byte("x"))
	f.Fuzz(func(t *testing.T, data, passphrase []byte) {
		if len(passphrase) == 0 {
			passphrase = nil
		}
		if key, err := decodeKey(data, passphrase); err == nil && key == nil {
			t.Error("no key and no error")
		}
		_, _ = decodeSigner(data)
		_, _ = decodeCertificates(data)
	})
}

// oddlyEncrypted is a key that was encrypted, with an octet of its text missing.
func oddlyEncrypted(t testing.TB) []byte {
	t.Helper()
	der, err := pkcs8.MarshalPrivateKey(newKey(t), []byte("x"), &pkcs8.Opts{
		Cipher:  pkcs8.AES256CBC,
		KDFOpts: pkcs8.PBKDF2Opts{SaltSize: 8, IterationCount: 1, HMACHash: crypto.SHA256},
	})
	must(t, err)
	var info struct {
		Algorithm asn1.RawValue
		Data      []byte
	}
	_, err = asn1.Unmarshal(der, &info)
	must(t, err)
	info.Data = info.Data[1:]
	der, err = asn1.Marshal(info)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: pemEncryptedKey, Bytes: der})
}

func TestADamagedEncryptedKeyIsAnError(t *testing.T) {
	_, err := decodeKey(oddlyEncrypted(t), []byte("x"))
	wantError(t, err, "cannot be decrypted")
}
