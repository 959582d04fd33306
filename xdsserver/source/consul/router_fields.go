package consul

import "github.com/hashicorp/consul/api"

// What is said of fields of more than one kind.
const (
	changesNothing = "changes nothing"
	namespaceOf    = "of Consul Enterprise: a namespace there is one of the mesh"
	partitionOf    = "of Consul Enterprise: one xdsserver is of one partition"
	ofProxies      = "it is about sidecar proxies, which the mesh has none of"
	answerHeaders  = "clients change no headers of answers"
	notHere        = "services of other datacenters, peers and partitions are not called yet: calls that would go there fail with UNAVAILABLE"
	notElsewhere   = "services of other datacenters, peers and partitions are not called yet: the others of the failover are"
)

// routerFields is what is done with each field of service-router.
var routerFields = []field{
	{api.ServiceRouter, "Kind", honoured, ""},
	{api.ServiceRouter, "Name", honoured, "the service whose calls are routed; NAME--NAMESPACE is NAME.NAMESPACE of the mesh"},
	{api.ServiceRouter, "Partition", refused, partitionOf},
	{api.ServiceRouter, "Namespace", honoured, namespaceOf},
	{api.ServiceRouter, "Routes[].Match.HTTP.PathExact", honoured, "the method, /package.Service/Method; the first route that matches decides"},
	{api.ServiceRouter, "Routes[].Match.HTTP.PathPrefix", honoured, ""},
	{api.ServiceRouter, "Routes[].Match.HTTP.PathRegex", honoured, "RE2, the whole path"},
	{api.ServiceRouter, "Routes[].Match.HTTP.CaseInsensitive", honoured, "not of PathRegex, as with Envoy"},
	{api.ServiceRouter, "Routes[].Match.HTTP.Header[].Name", honoured, "pseudo-headers, binary headers and gRPC's own are refused, with the route"},
	{api.ServiceRouter, "Routes[].Match.HTTP.Header[].Present", honoured, "inverted: absent, or with an empty value"},
	{api.ServiceRouter, "Routes[].Match.HTTP.Header[].Exact", honoured, "the values of a repeated header are joined by commas"},
	{api.ServiceRouter, "Routes[].Match.HTTP.Header[].Prefix", honoured, ""},
	{api.ServiceRouter, "Routes[].Match.HTTP.Header[].Suffix", honoured, ""},
	{api.ServiceRouter, "Routes[].Match.HTTP.Header[].Regex", honoured, "RE2, the whole value"},
	{api.ServiceRouter, "Routes[].Match.HTTP.Header[].Invert", honoured, "a header that is absent matches only an inverted Present, as with Envoy"},
	{api.ServiceRouter, "Routes[].Match.HTTP.QueryParam[].Name", refused, noQuery},
	{api.ServiceRouter, "Routes[].Match.HTTP.QueryParam[].Present", refused, noQuery},
	{api.ServiceRouter, "Routes[].Match.HTTP.QueryParam[].Exact", refused, noQuery},
	{api.ServiceRouter, "Routes[].Match.HTTP.QueryParam[].Regex", refused, noQuery},
	{api.ServiceRouter, "Routes[].Match.HTTP.Methods", honoured, "calls of gRPC are POST: without POST the route matches none"},
	{api.ServiceRouter, "Routes[].Destination.Service", honoured, "one without instances fails its calls"},
	{api.ServiceRouter, "Routes[].Destination.ServiceSubset", honoured, ""},
	{api.ServiceRouter, "Routes[].Destination.Namespace", honoured, namespaceOf},
	{api.ServiceRouter, "Routes[].Destination.Partition", fails, notHere},
	{api.ServiceRouter, "Routes[].Destination.PrefixRewrite", fails, "a call of gRPC is of the method that it names: " +
		"those that the route matches fail with UNIMPLEMENTED"},
	{api.ServiceRouter, "Routes[].Destination.RequestTimeout", honoured, "with all attempts; below zero is none"},
	{api.ServiceRouter, "Routes[].Destination.IdleTimeout", honoured, "of a stream without a message either way; below zero is none"},
	{api.ServiceRouter, "Routes[].Destination.NumRetries", honoured, "up to 4; without a condition only what was certainly not sent is sent again"},
	{api.ServiceRouter, "Routes[].Destination.RetryOnConnectFailure", honoured, "what was certainly not sent"},
	{api.ServiceRouter, "Routes[].Destination.RetryOnStatusCodes", honoured, "429, 502, 503 and 504 are UNAVAILABLE, as gRPC reads them; " +
		"others are none of gRPC, and refused"},
	{api.ServiceRouter, "Routes[].Destination.RetryOn", honoured, "5xx, gateway-error, reset and unavailable are UNAVAILABLE; " +
		"connect-failure and refused-stream what was " +
		"certainly not sent; retriable-4xx and envoy-ratelimited are refused"},
	{api.ServiceRouter, "Routes[].Destination.RequestHeaders.Add", honoured, "one with a variable of Envoy (%) is refused"},
	{api.ServiceRouter, "Routes[].Destination.RequestHeaders.Set", honoured, "one with a variable of Envoy (%) is refused"},
	{api.ServiceRouter, "Routes[].Destination.RequestHeaders.Remove", honoured, ""},
	{api.ServiceRouter, "Routes[].Destination.ResponseHeaders.Add", refused, answerHeaders},
	{api.ServiceRouter, "Routes[].Destination.ResponseHeaders.Set", refused, answerHeaders},
	{api.ServiceRouter, "Routes[].Destination.ResponseHeaders.Remove", refused, answerHeaders},
	{api.ServiceRouter, "Meta", honoured, changesNothing},
	{api.ServiceRouter, "CreateIndex", honoured, changesNothing},
	{api.ServiceRouter, "ModifyIndex", honoured, changesNothing},
}

const noQuery = "a call of gRPC has no query: the route matches none"

// splitterFields is what is done with each field of service-splitter.
var splitterFields = []field{
	{api.ServiceSplitter, "Kind", honoured, ""},
	{api.ServiceSplitter, "Name", honoured, "the service whose calls are split"},
	{api.ServiceSplitter, "Partition", refused, partitionOf},
	{api.ServiceSplitter, "Namespace", honoured, namespaceOf},
	{api.ServiceSplitter, "Splits[].Weight", honoured, "in hundredths of a percent; splitters of splitters are multiplied out"},
	{api.ServiceSplitter, "Splits[].Service", honoured, ""},
	{api.ServiceSplitter, "Splits[].ServiceSubset", honoured, ""},
	{api.ServiceSplitter, "Splits[].Namespace", honoured, namespaceOf},
	{api.ServiceSplitter, "Splits[].Partition", fails, "services of other partitions are not called yet: the share " +
		"goes to the other splits, or fails where there are none"},
	{api.ServiceSplitter, "Splits[].RequestHeaders.Add", refused, noShareHeaders},
	{api.ServiceSplitter, "Splits[].RequestHeaders.Set", refused, noShareHeaders},
	{api.ServiceSplitter, "Splits[].RequestHeaders.Remove", refused, noShareHeaders},
	{api.ServiceSplitter, "Splits[].ResponseHeaders.Add", refused, answerHeaders},
	{api.ServiceSplitter, "Splits[].ResponseHeaders.Set", refused, answerHeaders},
	{api.ServiceSplitter, "Splits[].ResponseHeaders.Remove", refused, answerHeaders},
	{api.ServiceSplitter, "Meta", honoured, changesNothing},
	{api.ServiceSplitter, "CreateIndex", honoured, changesNothing},
	{api.ServiceSplitter, "ModifyIndex", honoured, changesNothing},
}

const noShareHeaders = "headers change for all calls of a route alike: change them in a service-router"
