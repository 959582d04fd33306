package consul

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// routingHonoured are the fields of the entries that route calls which are honoured, or
// change nothing. Every other that is set is told of.
var routingHonoured = map[string][]string{
	api.ServiceRouter: {
		"Routes[].Match.HTTP.PathExact", "Routes[].Match.HTTP.PathPrefix", "Routes[].Match.HTTP.PathRegex", "Routes[].Match.HTTP.Methods[]",
		"Routes[].Match.HTTP.Header[].Name", "Routes[].Match.HTTP.Header[].Present", "Routes[].Match.HTTP.Header[].Exact",
		"Routes[].Match.HTTP.Header[].Prefix", "Routes[].Match.HTTP.Header[].Suffix", "Routes[].Match.HTTP.Header[].Regex",
		"Routes[].Match.HTTP.Header[].Invert",
		"Routes[].Destination.Service", "Routes[].Destination.ServiceSubset", "Routes[].Destination.RequestTimeout",
		"Routes[].Destination.IdleTimeout", "Routes[].Destination.NumRetries", "Routes[].Destination.RetryOnConnectFailure",
		"Routes[].Destination.RetryOnStatusCodes[]", "Routes[].Destination.RetryOn[]", "Routes[].Destination.RequestHeaders.Add",
		"Routes[].Destination.RequestHeaders.Set", "Routes[].Destination.RequestHeaders.Remove[]",
		// These are told of where they stand, since calls do not follow the entry then.
		"Routes[].Match.HTTP.CaseInsensitive", "Routes[].Match.HTTP.QueryParam[].Name", "Routes[].Match.HTTP.QueryParam[].Present",
		"Routes[].Match.HTTP.QueryParam[].Exact", "Routes[].Match.HTTP.QueryParam[].Regex",
	},
	api.ServiceSplitter: {"Splits[].Weight", "Splits[].Service", "Splits[].ServiceSubset"},
	api.ServiceResolver: {
		"DefaultSubset", "Subsets.Filter", "Subsets.OnlyPassing", "Redirect.Service", "Redirect.ServiceSubset", "Failover.Service",
		"Failover.ServiceSubset", "Failover.Targets[].Service", "Failover.Targets[].ServiceSubset", "RequestTimeout",
		// The chain says that calls would go to another datacenter, or to a peer.
		"Redirect.Datacenter", "Redirect.Peer", "Failover.Datacenters[]", "Failover.Targets[].Datacenter", "Failover.Targets[].Peer",
	},
	api.ServiceDefaults: {"Protocol"},
	api.ProxyDefaults:   {"Config"}, // holds the protocol; the rest of it is for Envoy
}

// everyHonoured are fields of all entries; namespaces and partitions only where they are
// the one that Consul without Enterprise has.
var everyHonoured = []string{"Kind", "Name", "Meta", "CreateIndex", "ModifyIndex", "Hash"}

// unhonoured tells of the fields of an entry that are set and not honoured.
func unhonoured(e api.ConfigEntry) []model.Problem {
	var problems []model.Problem
	honoured := routingHonoured[e.GetKind()]
	seen := map[string]bool{}
	walkSet(reflect.ValueOf(e), "", func(path string, v reflect.Value) {
		generic := indexless(path)
		switch {
		case slices.Contains(everyHonoured, generic), slices.Contains(honoured, generic), seen[generic]:
			return
		case strings.HasSuffix(generic, "Namespace") || strings.HasSuffix(generic, "Partition"):
			if v.Kind() == reflect.String && v.String() == model.DefaultNamespace {
				return
			}
		}
		seen[generic] = true
		problems = append(problems, model.Problem{
			Object: model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: e.GetName()},
			From:   "consul:" + e.GetKind() + "/" + e.GetName(), Field: path, Warning: true,
			Message: "is not honoured: the rest of the entry is; docs/consul.md says what is",
		})
	})
	return problems
}

// walkSet calls visit with each leaf that is not zero, and where it is.
func walkSet(v reflect.Value, path string, visit func(path string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walkSet(v.Elem(), path, visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				walkSet(v.Field(i), strings.TrimPrefix(path+"."+f.Name, "."), visit)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			walkSet(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	case reflect.Map:
		if v.Type().Elem().Kind() != reflect.Struct {
			if v.Len() > 0 {
				visit(path, v)
			}
			return
		}
		for _, key := range v.MapKeys() {
			walkSet(v.MapIndex(key), fmt.Sprintf("%s[%v]", path, key), visit)
		}
	default:
		if !v.IsZero() {
			visit(path, v)
		}
	}
}

// indexless is a path without the numbers of its elements, and without the keys of maps.
func indexless(path string) string {
	var b strings.Builder
	for path != "" {
		before, rest, found := strings.Cut(path, "[")
		b.WriteString(before)
		if !found {
			break
		}
		key, after, _ := strings.Cut(rest, "]")
		if key != "" && key[0] >= '0' && key[0] <= '9' {
			b.WriteString("[]")
		}
		path = after
	}
	return b.String()
}

// askAgain waits after a failure, and asks for another attempt; false when ctx has ended.
func askAgain(ctx context.Context, failures int, wake chan<- struct{}) bool {
	const least, most = 250 * time.Millisecond, 3 * time.Second
	timer := time.NewTimer(min(most, least<<min(failures, 4)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	select {
	case wake <- struct{}{}:
	default:
	}
	return true
}
