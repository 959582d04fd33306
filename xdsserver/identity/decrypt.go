package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"

	"github.com/youmark/pkcs8"
)

// maxIterations bounds PBKDF2, which a damaged file could ask to run for hours.
const maxIterations = 10_000_000

// oidPBKDF2 is RFC 8018, appendix A.2.
var oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

// errDecrypt leaves the cause out: it tells a wrong passphrase from a damaged file
// no better, and comes from what was decrypted.
var errDecrypt = errors.New("cannot be decrypted: it has another passphrase than the one given, or is damaged")

// decryptKey decrypts a PKCS#8 key of P-256.
func decryptKey(der, passphrase []byte) (key *ecdsa.PrivateKey, err error) {
	if err := checkDerivation(der); err != nil {
		return nil, err
	}
	// The module panics on a text that is no whole number of blocks.
	defer func() {
		if recover() != nil {
			key, err = nil, errDecrypt
		}
	}()
	key, err = pkcs8.ParsePKCS8PrivateKeyECDSA(der, passphrase)
	if err != nil || key.Curve != elliptic.P256() {
		return nil, errDecrypt
	}
	return key, nil
}

// checkDerivation refuses keys whose decryption could take for ever, or all memory.
func checkDerivation(der []byte) error {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	var scheme struct{ Derivation, Cipher pkix.AlgorithmIdentifier } // PBES2 of RFC 8018, appendix A.4
	var derivation struct {
		Salt       []byte
		Iterations int
		Rest       asn1.RawValue `asn1:"optional"`
		More       asn1.RawValue `asn1:"optional"`
	}
	for _, part := range []struct {
		der  func() []byte
		into any
	}{
		{func() []byte { return der }, &info},
		{func() []byte { return info.Algorithm.Parameters.FullBytes }, &scheme},
		{func() []byte { return scheme.Derivation.Parameters.FullBytes }, &derivation},
	} {
		if _, err := asn1.Unmarshal(part.der(), part.into); err != nil {
			return errDecrypt
		}
	}
	if !scheme.Derivation.Algorithm.Equal(oidPBKDF2) || derivation.Iterations > maxIterations {
		return errors.New("is encrypted in another way than PBES2 with PBKDF2: encrypt it with openssl pkcs8 -topk8 -v2 aes-256-cbc")
	}
	return nil
}
