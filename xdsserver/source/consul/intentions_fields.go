package consul

// intentionFields is what is done with each field of service-intentions.
var intentionFields = []field{
	{intentionsKind, "Kind", honoured, ""},
	{intentionsKind, "Name", honoured, "the service that is called, or * for those without an entry of their own"},
	{intentionsKind, "Partition", refused, "of Consul Enterprise; an entry of another partition than default denies every call to its service"},
	{intentionsKind, "Namespace", refused, "of Consul Enterprise; an entry of another namespace than default denies every call to its service"},
	{intentionsKind, "Meta", honoured, "changes no decision"},
	{intentionsKind, "CreateIndex", honoured, "changes no decision"},
	{intentionsKind, "ModifyIndex", honoured, "changes no decision"},

	{intentionsKind, "Sources[].Name", honoured, "the caller by its certificate, or * for every identity of the mesh"},
	{intentionsKind, "Sources[].Action", honoured, "an action that is unknown denies"},
	{intentionsKind, "Sources[].Precedence", honoured, "the source of the highest that matches the caller decides alone"},
	{intentionsKind, "Sources[].Permissions[].Action", honoured, "the first permission that matches decides; where none does, the default"},
	{intentionsKind, "Sources[].Permissions[].HTTP.PathExact", honoured, "the method, /package.Service/Method"},
	{intentionsKind, "Sources[].Permissions[].HTTP.PathPrefix", honoured, ""},
	{intentionsKind, "Sources[].Permissions[].HTTP.PathRegex", honoured, "RE2, the whole path"},
	{intentionsKind, "Sources[].Permissions[].HTTP.Methods", honoured, "calls of gRPC are POST: without POST the permission matches none"},
	{intentionsKind, "Sources[].Permissions[].HTTP.Header[].Name", honoured, "pseudo-headers, binary headers and gRPC's own are refused"},
	{intentionsKind, "Sources[].Permissions[].HTTP.Header[].Present", honoured, "also with an empty value"},
	{intentionsKind, "Sources[].Permissions[].HTTP.Header[].Exact", honoured, "the values of a repeated header are joined by commas"},
	{intentionsKind, "Sources[].Permissions[].HTTP.Header[].Prefix", honoured, ""},
	{intentionsKind, "Sources[].Permissions[].HTTP.Header[].Suffix", honoured, ""},
	{intentionsKind, "Sources[].Permissions[].HTTP.Header[].Contains", honoured, ""},
	{intentionsKind, "Sources[].Permissions[].HTTP.Header[].Regex", honoured, "RE2, the whole value"},
	{intentionsKind, "Sources[].Permissions[].HTTP.Header[].Invert", honoured, "a header that is absent matches only an inverted Present, as with Envoy"},
	{intentionsKind, "Sources[].Permissions[].HTTP.Header[].IgnoreCase", honoured, ""},

	{intentionsKind, "Sources[].Peer", refused, "a peer is another trust domain, whose callers get no connection; the source matches nobody"},
	{intentionsKind, "Sources[].Partition", refused, otherCallers},
	{intentionsKind, "Sources[].Namespace", refused, otherCallers},
	{intentionsKind, "Sources[].SamenessGroup", refused, otherCallers},
	{intentionsKind, "Sources[].Permissions[].JWT.Providers[].Name", refused, noToken},
	{intentionsKind, "Sources[].Permissions[].JWT.Providers[].VerifyClaims[].Path", refused, noToken},
	{intentionsKind, "Sources[].Permissions[].JWT.Providers[].VerifyClaims[].Value", refused, noToken},
	{intentionsKind, "JWT.Providers[].Name", refused, noToken},
	{intentionsKind, "JWT.Providers[].VerifyClaims[].Path", refused, noToken},
	{intentionsKind, "JWT.Providers[].VerifyClaims[].Value", refused, noToken},

	{intentionsKind, "Sources[].Type", honoured, "there is consul alone"},
	{intentionsKind, "Sources[].Description", honoured, "changes no decision"},
	{intentionsKind, "Sources[].LegacyID", honoured, "changes no decision"},
	{intentionsKind, "Sources[].LegacyMeta", honoured, "changes no decision"},
	{intentionsKind, "Sources[].LegacyCreateTime", honoured, "changes no decision"},
	{intentionsKind, "Sources[].LegacyUpdateTime", honoured, "changes no decision"},
}

const (
	intentionsKind = "service-intentions"

	otherCallers = "of Consul Enterprise; what it allows is not allowed, and where it denies, every call is denied"
	noToken      = "servers of the mesh look at no JWT; what is allowed with one is not allowed, what is denied with one is denied without"
)
