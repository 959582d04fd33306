package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A ruling is all intentions, and what holds where none does.
type ruling struct {
	entries []*api.ServiceIntentionsConfigEntry
	// allow is what is done with a call that no intention matches, and with one that an
	// intention's permissions leave undecided. doubt is why it may be another; nil where
	// Consul says.
	allow bool
	doubt error
}

// followIntentions emits the part until ctx ends.
func (s *Source) followIntentions(ctx context.Context, emit func(intentionsPart)) error {
	client := s.config.Client
	r := newIntentionsReader(client.Address())
	return consul.Follow(ctx, client, consul.Watch[ruling]{
		What:  "intentions",
		Fetch: func(q *api.QueryOptions) (ruling, *api.QueryMeta, error) { return fetchIntentions(client, q) },
		Emit:  func(a consul.Answer[ruling]) { emit(r.read(a)) },
	})
}

// An intentionsReader makes parts of answers.
type intentionsReader struct {
	address string
	last    intentionsPart
	known   map[model.Ref]*model.AccessPolicy
	said    *bool // whether Consul allows by default, as it said last; nil until it has
}

// newIntentionsReader returns one that lets nobody call anybody until intentions were
// read once: to go without them would open what Consul closes.
func newIntentionsReader(address string) *intentionsReader {
	return &intentionsReader{address: address, last: intentionsPart{part{objects: []model.Object{unread()}}}}
}

// read returns the part after an answer. One that cannot be used keeps what was read
// last, and says why that may be old.
func (r *intentionsReader) read(a consul.Answer[ruling]) intentionsPart {
	switch {
	case a.Err != nil:
		r.last.err = a.Err
	case a.Filtered:
		// What is hidden may be a denial, which would undo what is shown.
		r.last.err = fmt.Errorf("intentions: consul at %s does not show all of them to xdsserver's token: give it intentions = \"read\" "+
			"in a rule of every service (service_prefix \"\")", r.address)
	default:
		if a.Value.doubt == nil {
			r.said = &a.Value.allow
		} else if r.said != nil {
			// It has said so before: an agent that restarts knows no token for a moment.
			a.Value.allow, a.Value.doubt = *r.said, nil
		}
		r.last = intentionsPart{compileIntentions(a.Value)}
		r.known = reuse(r.last.objects, r.known)
	}
	return r.last
}

// fetchIntentions asks once.
func fetchIntentions(c *consul.Client, q *api.QueryOptions) (ruling, *api.QueryMeta, error) {
	found, meta, err := c.API().ConfigEntries().List(api.ServiceIntentions, q)
	if err != nil {
		return ruling{}, nil, err
	}
	r := ruling{entries: make([]*api.ServiceIntentionsConfigEntry, 0, len(found))}
	for _, entry := range found {
		if e, ok := entry.(*api.ServiceIntentionsConfigEntry); ok {
			r.entries = append(r.entries, e)
		}
	}
	policy, err := intentionDefault(c, q.Context(), meta.DefaultACLPolicy)
	if err != nil && !consul.Denied(err) && !errors.Is(err, errUnsaid) {
		return ruling{}, nil, err
	}
	r.allow, r.doubt = policy == "allow", err
	return r, meta, nil
}

// errUnsaid is a default that Consul does not say.
var errUnsaid = errors.New("it does not say what its ACLs do by default")

// intentionDefault returns "allow" or "deny". The agent's default_intention_policy
// decides, which it shows to who may read the agent, and else what its ACLs do by default,
// which is in the header of every answer. Where neither is known it is "deny".
func intentionDefault(c *consul.Client, ctx context.Context, acls string) (string, error) { //nolint:revive // ctx is of a query, which comes second
	var self struct {
		DebugConfig struct{ DefaultIntentionPolicy string }
	}
	if _, err := c.API().Raw().Query("/v1/agent/self", &self, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return "deny", err
	}
	switch policy := self.DebugConfig.DefaultIntentionPolicy; {
	case policy != "":
		return policy, nil
	case acls == "":
		return "deny", errUnsaid
	default:
		return acls, nil
	}
}

// unread stands for intentions that were never read.
func unread() *model.AccessPolicy {
	return (&model.AccessPolicy{
		Namespace: model.DefaultNamespace, Name: everyName, From: intentionsFrom("*"), AllServices: true,
	}).Close()
}

// reuse puts policies of before in the place of equal ones, in objects: who compares
// them does so by identity. It returns the policies by name.
func reuse(objects []model.Object, before map[model.Ref]*model.AccessPolicy) map[model.Ref]*model.AccessPolicy {
	now := make(map[model.Ref]*model.AccessPolicy, len(objects))
	for i, o := range objects {
		p, ok := o.(*model.AccessPolicy)
		if !ok {
			continue
		}
		if old := before[p.Ref()]; old != nil && reflect.DeepEqual(old, p) {
			p, objects[i] = old, old
		}
		now[p.Ref()] = p
	}
	return now
}

const (
	// wildcard is every service, as a source and as a destination.
	wildcard = "*"
	// everyName is the policy for services that no intention names, and ownPrefix begins
	// the name of others; a service's own has no dot.
	everyName, ownPrefix = "consul.all", "consul-"
)

func intentionsFrom(destination string) string { return "consul:service-intentions/" + destination }

// compileIntentions makes a policy for each destination, and one for all others.
//
// A destination has the sources of its own entry, then those of the wildcard's, in the
// order of Consul's precedence. The first that matches the caller decides, and within it
// the first permission that matches the call; where none does, the default. Where the
// default is to allow, only denials are written: who is allowed by others' policies is
// their matter. Where it is to deny, both are, so that a policy of somebody else cannot
// allow what an intention denies.
func compileIntentions(r ruling) part {
	c := &intentionCompiler{allow: r.allow}
	own := map[string]*api.ServiceIntentionsConfigEntry{}
	var every *api.ServiceIntentionsConfigEntry
	for _, e := range r.entries {
		if e.Name == wildcard {
			every = e
		} else {
			own[e.Name] = e
		}
	}
	p := part{known: true}
	all := &model.AccessPolicy{Namespace: model.DefaultNamespace, Name: everyName, From: intentionsFrom(wildcard), AllServices: true}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		services := servicesOf(name)
		if len(services) == 0 {
			c.refusef(own[name], "Name", "service %.80q has a name that the mesh does not take: it is in no mesh, and its intentions protect nobody", name)
			continue
		}
		all.Except = append(all.Except, services...)
		policy := &model.AccessPolicy{
			Namespace: model.DefaultNamespace, Name: policyOf(name), From: intentionsFrom(name), Services: services,
		}
		if c.compile(policy, own[name], every) {
			p.objects = append(p.objects, policy)
		}
	}
	if c.compile(all, every) {
		p.objects = append(p.objects, all)
	}
	p.problems = c.problems
	if r.doubt != nil {
		p.problems = append(p.problems, model.Problem{
			Object: all.Ref(), From: intentionsFrom(wildcard), Field: "default_intention_policy", Warning: true,
			Message: fmt.Sprintf("is not known, so that what no intention allows is denied: give xdsserver's token agent:read (%v)", r.doubt),
		})
	}
	return p
}
