package consul

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// maxInstance and maxWeight are those of who registers here.
	maxInstance = 128
	maxWeight   = 10_000
	// maxProblems is how many of one service are told apart; a thousand instances with
	// one mistake are one mistake.
	maxProblems = 8
)

// A key is what an instance is known by in the mesh.
type key struct {
	service  model.ServiceName
	instance string
	// own is apart from the rest: a process that moved from one xdsserver to another is
	// there twice, and the registration it left must not hide the one that it has.
	own bool
}

func (k key) compare(o key) int {
	c := cmp.Or(k.service.Compare(o.service), strings.Compare(k.instance, o.instance))
	if c == 0 && k.own != o.own {
		if k.own {
			return 1
		}
		return -1
	}
	return c
}

func (in instance) key() key { return key{in.endpoint.Service, in.endpoint.Instance, in.own()} }

// usable reports whether Consul has calls go to the instance.
func (in instance) usable() bool { return in.endpoint.Health == model.Healthy }

// own reports whether this xdsserver registered the instance, and so knows it without
// asking, but for the subsets that it is in.
func (in instance) own() bool { return in.endpoint.From == model.Mirrored }

// same reports whether nothing that anybody asks about an instance differs. The output
// of a check, which may change every second, is nothing of that kind.
func (in instance) same(o instance) bool {
	return reflect.DeepEqual(in.endpoint, o.endpoint) && (in.entry == o.entry ||
		status(in.entry) == status(o.entry) &&
			reflect.DeepEqual(in.entry.Service, o.entry.Service) && reflect.DeepEqual(in.entry.Node, o.entry.Node))
}

// A reader makes instances of Consul's entries, and collects what is wrong with them.
type reader struct {
	self     string
	problems []model.Problem
	more     int // problems beyond the most
}

// read returns the instances in the order of their keys, each once.
func (r *reader) read(entries []*api.ServiceEntry) []instance {
	all := make([]instance, 0, len(entries))
	for _, entry := range entries {
		if in, ok := r.instance(entry); ok {
			all = append(all, in)
		}
	}
	slices.SortFunc(all, prefer)
	if r.more > 0 {
		last := &r.problems[len(r.problems)-1]
		last.Message = fmt.Sprintf("%s (and %d more problems of this service)", last.Message, r.more)
	}
	return slices.CompactFunc(all, func(a, b instance) bool { return a.key() == b.key() })
}

// prefer orders by key, and puts the one to keep first where two nodes have an instance
// of one name: a passing one, then the first by node and address, so that every
// xdsserver keeps the same.
func prefer(a, b instance) int {
	if c := a.key().compare(b.key()); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(rank(a.entry), rank(b.entry)),
		strings.Compare(a.entry.Node.Node, b.entry.Node.Node),
		slices.Compare(a.endpoint.Addresses, b.endpoint.Addresses),
	)
}

func rank(e *api.ServiceEntry) int {
	switch status(e) {
	case api.HealthCritical, api.HealthMaint:
		return 2
	case api.HealthWarning:
		return 1
	default:
		return 0
	}
}

// status is that of all checks of the instance and its node together. What is no status
// counts for nothing.
func status(e *api.ServiceEntry) string {
	odd := func(c *api.HealthCheck) bool {
		return c == nil || c.Status != api.HealthPassing && c.Status != api.HealthWarning && c.Status != api.HealthCritical
	}
	checks := e.Checks
	if slices.ContainsFunc(checks, odd) {
		checks = slices.DeleteFunc(slices.Clone(checks), odd)
	}
	return checks.AggregatedStatus()
}

// instance maps one entry; ok is false where there is nothing to call. Proxies and
// gateways are left out without a word.
func (r *reader) instance(entry *api.ServiceEntry) (in instance, ok bool) {
	if entry == nil || entry.Service == nil || entry.Node == nil || entry.Service.Kind != api.ServiceKindTypical {
		return in, false
	}
	e := model.Endpoint{Instance: instanceName(entry), From: "consul:" + reduce(entry.Node.Node)}
	switch owner := entry.Service.Meta[consul.MetaOwner]; owner {
	case "":
	case r.self:
		e.From = model.Mirrored
	default:
		e.From = model.Elsewhere
	}
	var err error
	if e.Service, err = serviceName(entry.Service); err != nil {
		r.warnf(e, "", "cannot be called: %w", err)
		return in, false
	}
	address, err := hostPort(entry)
	if err != nil {
		r.warnf(e, "endpoints["+e.Instance+"]", "is left out: %w", err)
		return in, false
	}
	e.Addresses = []string{address}
	e.Version = r.label(e, consul.MetaVersion, entry)
	e.Region = r.label(e, consul.MetaRegion, entry)
	e.Zone = r.label(e, consul.MetaZone, entry)
	weight := entry.Service.Weights.Passing
	switch status(entry) {
	case api.HealthCritical, api.HealthMaint:
		e.Health = model.NotServing
	case api.HealthWarning:
		weight = entry.Service.Weights.Warning
	}
	e.Weight = uint32(min(max(weight, 0), maxWeight))
	return instance{endpoint: e, entry: entry}, true
}

// warnf keeps a problem, each once. The names in it may be any text.
func (r *reader) warnf(e model.Endpoint, field, format string, args ...any) {
	p := model.Problem{
		Object:  model.Ref{Kind: model.KindService, Namespace: reduce(e.Service.Namespace), Name: reduce(e.Service.Name)},
		From:    e.From,
		Field:   field,
		Message: fmt.Errorf(format, args...).Error(),
		Warning: true,
	}
	switch {
	case slices.ContainsFunc(r.problems, func(o model.Problem) bool {
		return o.Object == p.Object && o.Message == p.Message && (field == "" || o.Field == field)
	}):
	case len(r.problems) == maxProblems:
		r.more++
	default:
		r.problems = append(r.problems, p)
	}
}

// serviceName is what the mesh calls a service of Consul. What the metadata says counts
// only where it is what this service is called in Consul: else who may write one
// service there could join another. The name is what could be read of it in any case.
func serviceName(s *api.AgentService) (model.ServiceName, error) {
	if own := s.Meta[consul.MetaService]; own != "" {
		name, err := model.ParseServiceName(own)
		if err == nil && consul.CatalogName(name.String()) != s.Service {
			err = fmt.Errorf("its metadata %s says that it is %s, which is %s in Consul: remove it",
				consul.MetaService, name, consul.CatalogName(name.String()))
		}
		if err != nil {
			return model.ServiceName{Namespace: model.DefaultNamespace, Name: s.Service}, err
		}
		return name, nil
	}
	name := model.ServiceName{Namespace: cmp.Or(s.Namespace, model.DefaultNamespace), Name: s.Service}
	for _, label := range []string{name.Name, name.Namespace} {
		if err := model.CheckLabel(label); err != nil {
			return name, fmt.Errorf("%w: the mesh takes names that DNS takes, so register it under one", err)
		}
	}
	return name, nil
}

// instanceName is what the xdsserver that registered it says, or made of what is unique
// in Consul.
func instanceName(e *api.ServiceEntry) string {
	if own := e.Service.Meta[consul.MetaInstance]; own != "" && e.Service.Meta[consul.MetaOwner] != "" {
		return reduce(own)
	}
	return reduce(e.Service.ID + "@" + e.Node.Node)
}

// reduce keeps what the id of an instance may hold. What it changes ends with a hash of
// the whole, so that two do not become one.
func reduce(s string) string {
	valid := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:@", r) {
			return r
		}
		return '-'
	}, s)
	if valid == s && len(s) <= maxInstance {
		return s
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(s))
	const digits = 1 + 16
	return fmt.Sprintf("%s-%016x", valid[:min(len(valid), maxInstance-digits)], sum.Sum64())
}

// hostPort is where an instance is called.
func hostPort(e *api.ServiceEntry) (string, error) {
	host := cmp.Or(e.Service.Address, e.Node.Address)
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "":
		return "", fmt.Errorf("it has no address: register it with the one that others reach it at")
	case err != nil:
		return "", fmt.Errorf("its address %.80q is a host name, and clients dial IP addresses: register it with one", host)
	}
	ip = ip.Unmap()
	port := e.Service.DefaultPort()
	switch {
	case ip.IsUnspecified(), ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{math.MaxUint8, math.MaxUint8, math.MaxUint8, math.MaxUint8}):
		return "", fmt.Errorf("its address %s is not that of one machine: register it with the one that others reach it at", ip)
	case ip.Zone() != "":
		return "", fmt.Errorf("its address %.80q has a zone, which means nothing to other machines: register it without", host)
	case port <= 0 || port > math.MaxUint16:
		return "", fmt.Errorf("its port is %d: register it with the one that it listens on", port)
	}
	return netip.AddrPortFrom(ip, uint16(port)).String(), nil
}

// label is the version, the region or the zone of an instance, from the first place that
// says one.
func (r *reader) label(e model.Endpoint, name string, entry *api.ServiceEntry) string {
	value := cmp.Or(entry.Service.Meta[name], tagged(entry.Service.Tags, name))
	if name != consul.MetaVersion {
		value = cmp.Or(value, local(entry.Service.Locality, name), local(entry.Node.Locality, name), entry.Node.Meta[name])
	}
	if value == "" {
		return ""
	}
	// What a version may hold, the other labels may.
	if model.CheckVersion(value) != nil {
		r.warnf(e, "endpoints["+e.Instance+"]."+name, "%.80q is left out: want 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends", value)
		return ""
	}
	return value
}

// tagged returns v1 of a tag "version=v1".
func tagged(tags []string, name string) string {
	for _, tag := range tags {
		if value, ok := strings.CutPrefix(tag, name+"="); ok {
			return value
		}
	}
	return ""
}

func local(l *api.Locality, name string) string {
	switch {
	case l == nil:
		return ""
	case name == consul.MetaZone:
		return l.Zone
	default:
		return l.Region
	}
}
