package resource

import (
	"strings"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// refuseRewrites refuses what a hash policy may not do, apart from the rest since
// grpc-go reads it of routes that it then skips, too.
func refuseRewrites(list []*xdsv3.RouteAction_HashPolicy) error {
	for i, m := range list {
		if m.GetHeader().GetRegexRewrite() != nil {
			return at("hash_policy", i, under("header", known(m.GetHeader())))
		}
	}
	return nil
}

// decodeHashPolicy returns the header that calls are hashed by, empty where the
// list is (gRFC A42). One header is all that is done here: it may be terminal,
// since there is nothing behind it.
func decodeHashPolicy(list []*xdsv3.RouteAction_HashPolicy) (string, error) {
	if len(list) == 0 {
		return "", nil
	}
	if len(list) > 1 {
		return "", bad("hash_policy", "are %d, one is done here: a header's", len(list))
	}
	m := list[0]
	if err := known(m); err != nil {
		return "", at("hash_policy", 0, err)
	}
	header := m.GetHeader()
	if header == nil {
		return "", at("hash_policy", 0, bad("", "is none that is done here; hash by a header"))
	}
	if err := known(header); err != nil {
		return "", at("hash_policy", 0, under("header", err))
	}
	var r reading
	name := strings.ToLower(header.GetHeaderName())
	r.readable("header_name", name)
	return name, at("hash_policy", 0, under("header", r.err))
}

// readable reads the name of a header whose value decides something.
func (r *reading) readable(field, name string) {
	r.token(field, name)
	if strings.HasPrefix(name, "grpc-") || strings.HasSuffix(name, "-bin") || unmatchable[name] {
		r.fail(field, "%q is none that calls are told apart by: gRPC keeps it to itself, or it is binary", name)
	}
}
