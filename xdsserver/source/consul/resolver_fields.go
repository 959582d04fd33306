package consul

import "github.com/hashicorp/consul/api"

// resolverFields is what is done with each field of service-resolver.
var resolverFields = []field{
	{api.ServiceResolver, "Kind", honoured, ""},
	{api.ServiceResolver, "Name", honoured, "the service whose instances are chosen from"},
	{api.ServiceResolver, "Partition", refused, partitionOf},
	{api.ServiceResolver, "Namespace", honoured, namespaceOf},
	{api.ServiceResolver, "DefaultSubset", honoured, "for calls that come by Consul's entries, and to the service's own name"},
	{api.ServiceResolver, "Subsets{}.Filter", honoured, "Consul's own expressions; where one cannot be read, the subset has no instance"},
	{api.ServiceResolver, "Subsets{}.OnlyPassing", honoured, ""},
	{api.ServiceResolver, "Redirect.Service", honoured, ""},
	{api.ServiceResolver, "Redirect.ServiceSubset", honoured, ""},
	{api.ServiceResolver, "Redirect.Namespace", honoured, namespaceOf},
	{api.ServiceResolver, "Redirect.Partition", fails, notHere},
	{api.ServiceResolver, "Redirect.Datacenter", fails, notHere},
	{api.ServiceResolver, "Redirect.Peer", fails, notHere},
	{api.ServiceResolver, "Redirect.SamenessGroup", refused, "of Consul Enterprise: calls go to the service here"},
	{api.ServiceResolver, "Failover{}.Service", honoured, "while no instance takes calls, in the order that is written"},
	{api.ServiceResolver, "Failover{}.ServiceSubset", honoured, ""},
	{api.ServiceResolver, "Failover{}.Namespace", honoured, namespaceOf},
	{api.ServiceResolver, "Failover{}.Datacenters", refused, notElsewhere},
	{api.ServiceResolver, "Failover{}.Targets[].Service", honoured, ""},
	{api.ServiceResolver, "Failover{}.Targets[].ServiceSubset", honoured, ""},
	{api.ServiceResolver, "Failover{}.Targets[].Partition", refused, notElsewhere},
	{api.ServiceResolver, "Failover{}.Targets[].Namespace", honoured, namespaceOf},
	{api.ServiceResolver, "Failover{}.Targets[].Datacenter", refused, notElsewhere},
	{api.ServiceResolver, "Failover{}.Targets[].Peer", refused, notElsewhere},
	{api.ServiceResolver, "Failover{}.Policy.Mode", refused, "of Consul Enterprise: targets are tried in the order that is written"},
	{api.ServiceResolver, "Failover{}.Policy.Regions", refused, "of Consul Enterprise: targets are tried in the order that is written"},
	{api.ServiceResolver, "Failover{}.SamenessGroup", refused, notElsewhere},
	{api.ServiceResolver, "ConnectTimeout", refused, "clients connect ahead of calls, and try for up to 20 seconds"},
	{api.ServiceResolver, "RequestTimeout", honoured, "where the service has neither router nor splitter, as with Consul"},
	{api.ServiceResolver, "PrioritizeByLocality.Mode", honoured, "failover keeps to the caller's zone while that can take it, " +
		"none spreads over all; left out, the mesh keeps to the zone"},
	{api.ServiceResolver, "LoadBalancer.Policy", honoured, "least_request, round_robin and ring_hash; maglev is by a ring, too, and random by turns"},
	{api.ServiceResolver, "LoadBalancer.RingHashConfig.MinimumRingSize", honoured, "up to 8192"},
	{api.ServiceResolver, "LoadBalancer.RingHashConfig.MaximumRingSize", honoured, "up to 8192"},
	{api.ServiceResolver, "LoadBalancer.LeastRequestConfig.ChoiceCount", honoured, "2 to 10"},
	{api.ServiceResolver, "LoadBalancer.HashPolicies[].Field", honoured, "header, the first of them; cookie and query_parameter are none of gRPC, and refused"},
	{api.ServiceResolver, "LoadBalancer.HashPolicies[].FieldValue", honoured, "the header; pseudo-headers, binary headers and gRPC's own are refused"},
	{api.ServiceResolver, "LoadBalancer.HashPolicies[].CookieConfig.Session", refused, noCookies},
	{api.ServiceResolver, "LoadBalancer.HashPolicies[].CookieConfig.TTL", refused, noCookies},
	{api.ServiceResolver, "LoadBalancer.HashPolicies[].CookieConfig.Path", refused, noCookies},
	{api.ServiceResolver, "LoadBalancer.HashPolicies[].SourceIP", refused, "a client that chooses by its own address would send all its calls to one instance"},
	{api.ServiceResolver, "LoadBalancer.HashPolicies[].Terminal", honoured, "one header decides in any case"},
	{api.ServiceResolver, "Meta", honoured, changesNothing},
	{api.ServiceResolver, "CreateIndex", honoured, changesNothing},
	{api.ServiceResolver, "ModifyIndex", honoured, changesNothing},
}

const noCookies = "calls of gRPC have no cookies: choose by a header"
