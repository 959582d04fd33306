package tap

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Redacted stands in the place of a secret.
const Redacted = "[redacted]"

// Bounds of the metadata of an event: of its entries, and of their bytes.
const (
	maxEntries = 64
	maxKey     = 128
	maxValue   = 1 << 10
	maxBinary  = 256
)

// secretFields are names of fields that are secrets in whatever message: those that
// nobody uses for something else.
var secretFields = []string{
	"password", "passwd", "passphrase", "secret", "client_secret", "private_key", "api_key", "access_token", "refresh_token", "id_token",
}

// A redaction says what is left out. It is immutable.
type redaction struct {
	// bare are names of fields, full those of fields and messages with their package,
	// keys those of metadata.
	bare, full, keys map[string]bool
}

// newRedaction leaves out what any of the taps does: a call that two of them take is
// written down once.
func newRedaction(open []*opened) *redaction {
	r := &redaction{bare: map[string]bool{}, full: map[string]bool{}, keys: map[string]bool{}}
	for _, name := range secretFields {
		r.bare[plain(name)] = true
	}
	for _, o := range open {
		for _, name := range o.spec.Redact {
			r.keys[strings.ToLower(name)] = true
			if strings.Contains(name, ".") {
				r.full[strings.TrimPrefix(name, ".")] = true
			} else {
				r.bare[plain(name)] = true
			}
		}
	}
	return r
}

// plain makes one name of card_number, cardNumber and Card-Number.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return r
	}, strings.ToLower(name))
}

// hides reports whether a field is left out.
func (r *redaction) hides(fd protoreflect.FieldDescriptor) bool {
	if o, ok := fd.Options().(*descriptorpb.FieldOptions); ok && o.GetDebugRedact() {
		return true
	}
	return r.bare[plain(string(fd.Name()))] || r.full[string(fd.FullName())] || fd.Message() != nil && r.full[string(fd.Message().FullName())]
}

// hidesKey reports whether an entry of a map of that key is left out: it is a field of
// what has no fields, or metadata that is handed on.
func (r *redaction) hidesKey(key protoreflect.MapKey) bool {
	text, ok := key.Interface().(string)
	return ok && (r.bare[plain(text)] || r.full[text] || r.keys[strings.ToLower(text)] || resource.SecretKey(text))
}

// hidesEnum reports whether a value of an enum is left out.
func hidesEnum(fd protoreflect.FieldDescriptor, n protoreflect.EnumNumber) bool {
	v := fd.Enum().Values().ByNumber(n)
	if v == nil {
		return false
	}
	o, ok := v.Options().(*descriptorpb.EnumValueOptions)
	return ok && o.GetDebugRedact()
}

// secret reports whether a value of metadata is none to be shown. Who passes a token
// on under a name of his own is found by what it looks like.
func (r *redaction) secret(key, value string) bool {
	if resource.SecretKey(key) || r.keys[key] || r.keys[strings.TrimSuffix(key, "-bin")] {
		return true
	}
	scheme, _, found := strings.Cut(value, " ")
	return found && (strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "basic"))
}

// metadata writes metadata down, in order of key.
func (r *redaction) metadata(md metadata.MD) []*tapv1.Metadata {
	var out []*tapv1.Metadata
	for _, key := range slices.Sorted(maps.Keys(md)) {
		for _, value := range md[key] {
			if len(out) == maxEntries {
				return out
			}
			name := strings.ToLower(key)
			switch {
			case r.secret(name, value):
				value = Redacted
			case strings.HasSuffix(name, "-bin"):
				more := ""
				if len(value) > maxBinary {
					value, more = value[:maxBinary], "..."
				}
				value = base64.StdEncoding.EncodeToString([]byte(value)) + more
			default:
				value = clip(value, maxValue)
			}
			out = append(out, &tapv1.Metadata{Key: clip(name, maxKey), Value: value})
		}
	}
	return out
}
