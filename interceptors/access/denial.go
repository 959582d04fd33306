package access

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// maxText bounds what callers choose and errors repeat, in bytes.
const maxText = 256

// defaultPolicy is the name under which the mesh's default allows.
const defaultPolicy = "mesh/default"

// Denied is the end of a call to a server of service that the verdict refuses. Its
// text is for the caller: it names who is not allowed what, and by which policy.
func Denied(service string, c *Caller, method string, v *Verdict) *call.Error {
	method = short(method)
	switch v.Cause {
	case Expired:
		return &call.Error{
			Service: service,
			Reason:  call.NoIdentity,
			Code:    codes.Unauthenticated,
			Detail: fmt.Sprintf("the certificate of %s expired at %s: %s takes no more calls by it",
				c.name(), c.Peer.NotAfter().UTC().Format(time.RFC3339), service),
			Try: "xdsserver check: why the caller did not renew it is in the caller's log",
		}
	case Plaintext:
		return &call.Error{
			Service: service,
			Reason:  call.NoIdentity,
			Code:    codes.Unauthenticated,
			Detail:  fmt.Sprintf("%s takes no calls without an identity any more, and %s has none", service, c.name()),
			Try:     "mesh.NewClient in the caller, or mtls: {mode: permissive, until: ...} in the Service " + service,
		}
	default:
		return &call.Error{
			Service: service,
			Reason:  call.AccessDenied,
			Code:    codes.PermissionDenied,
			Detail:  fmt.Sprintf("%s may not call %s of %s: %s", c.name(), method, service, because(v.Policy)),
			Try:     fmt.Sprintf("xdsserver authz %s%s --method %s", service, c.from(), method),
		}
	}
}

// Ended is the end of an open stream whose caller's certificate has expired. The
// caller may have another by now, which a new stream brings: UNAVAILABLE.
func Ended(service string, c *Caller, method string) *call.Error {
	return &call.Error{
		Service: service,
		Reason:  call.NoIdentity,
		Code:    codes.Unavailable,
		Detail: fmt.Sprintf("the certificate that %s opened this stream of %s with expired at %s",
			c.name(), short(method), c.Peer.NotAfter().UTC().Format(time.RFC3339)),
		Try: "open the stream again",
	}
}

// NoPolicy is the end of a call that came before the server knew what to enforce.
func NoPolicy(service string, cause error) *call.Error {
	return &call.Error{
		Service: service,
		Reason:  call.NoPolicy,
		Code:    codes.Unavailable,
		Detail:  fmt.Sprintf("%s has no access policy yet", service),
		Try:     "xdsserver check",
		Cause:   cause,
	}
}

// name is the caller for people.
func (c *Caller) name() string {
	switch {
	case c.Peer != nil:
		return c.Peer.URI
	case c.Addr != nil:
		return "the caller at " + c.host()
	default:
		return "a caller without an identity"
	}
}

// from names the caller to `xdsserver authz`.
func (c *Caller) from() string {
	switch {
	case c.Peer == nil:
		return ""
	case c.Peer.Service != "":
		return " --from " + c.Peer.Service
	default:
		return " --from " + c.Peer.URI
	}
}

// because says what a policy's name means for a call that it did not let pass:
// "default/voting/deny/0" is a rule that matched, "default/voting, shop/x" are the
// objects of which none did.
func because(policy string) string {
	switch policy {
	case "":
		return "no policy allows it"
	case defaultPolicy:
		return "the mesh's default allows callers with an identity only"
	}
	if object, rule, ok := strings.Cut(policy, "/deny/"); ok {
		return fmt.Sprintf("rule %s in the deny list of policy %q forbids it", rule, objectName(object))
	}
	names := strings.Split(policy, ", ")
	more := ""
	if last, rest, ok := strings.Cut(names[len(names)-1], " and "); ok {
		names[len(names)-1], more = last, " and "+rest
	}
	noun := "policy "
	if len(names) > 1 || more != "" {
		noun = "policies "
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%q", objectName(name))
	}
	return "no rule of " + noun + strings.Join(names, ", ") + more + " allows it"
}

// objectName is "namespace/name" as people write it.
func objectName(object string) string {
	namespace, name, ok := strings.Cut(object, "/")
	switch {
	case !ok:
		return object
	case namespace == "default":
		return name
	default:
		return name + "." + namespace
	}
}

func short(method string) string {
	if len(method) <= maxText {
		return method
	}
	return method[:maxText] + "..."
}
