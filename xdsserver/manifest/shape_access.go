package manifest

var meshSpec = shape{
	{name: "access", form: object, of: shape{
		{
			name: "default", enum: []string{authenticated, deny}, required: "default: deny",
			doc: "Who may call a service that no policy has an allow list for: every caller with an identity, or nobody; authenticated " +
				"when left out.",
		},
	}, doc: "Who may call where no policy says so."},
	{name: "mtls", form: object, of: mtlsShape, doc: "Whether connections need TLS, of services that say nothing of their own."},
	{name: "tap", form: object, of: shape{
		{name: "redact", form: textList, required: "redact: [NAME]", doc: "Fields that are left out of messages that are watched, as " +
			"shop.v1.Card.number, or number in any message; messages by their full name; and keys of metadata. debug_redact in a " +
			"definition does the same."},
	}, doc: "What those who watch calls are not shown."},
}

var mtlsShape = shape{
	{
		name: "mode", enum: []string{strict, permissive}, required: "mode: strict",
		doc: "strict: every connection is mutual TLS. permissive: servers also take connections without TLS, for a while.",
	},
	{name: "until", doc: "When permissive ends, as in 2026-12-31 (its first moment, UTC) or 2026-12-31T18:00:00Z."},
}

var policySpec = shape{
	{name: "services", form: textList, doc: "The services that the policy protects, as in voting, voting.shop, *.shop or *; left out, the " +
		"one that the policy is named after."},
	{name: "mode", enum: []string{enforce, audit}, doc: "enforce, which it is when left out, or audit: told of, and never enforced."},
	{name: "allow", form: list, of: accessRuleShape, doc: "Who may call; with an empty list nobody."},
	{name: "deny", form: list, of: accessRuleShape, doc: "Who may not call, whatever allows it."},
	{name: "shadow", form: object, of: shape{
		{name: "allow", form: list, of: accessRuleShape, doc: "In place of spec.allow."},
		{name: "deny", form: list, of: accessRuleShape, doc: "In place of spec.deny."},
	}, doc: "Rules on trial: told of as if they stood in place of allow and deny, and never enforced."},
}

var accessRuleShape = shape{
	{name: "from", form: textList, doc: "Callers, as in web, web.shop, *.shop, * for every identity, spiffe://example.org/path or " +
		"spiffe://example.org/*; left out, every caller."},
	{name: "methods", form: textList, doc: "Methods, as in /emojivoto.v1.VotingService/VoteDoughnut or /emojivoto.v1.VotingService/*; " +
		"left out, every method."},
	{name: "metadata", form: list, of: shape{
		{name: "name", required: "name: NAME", doc: "The name, in lower case."},
		{name: "value", doc: "The whole value; left out, any that is not empty."},
	}, doc: "Metadata that must all be there."},
}

// The words of enums.
const (
	authenticated = "authenticated"
	deny          = "deny"
	strict        = "strict"
	permissive    = "permissive"
	enforce       = "enforce"
	audit         = "audit"
)
