package cli

import (
	"strings"
	"time"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

type explanationJSON struct {
	Service   string        `json:"service"`
	Method    string        `json:"method"`
	Caller    callerJSON    `json:"caller"`
	Resources []heldJSON    `json:"resources"`
	Holders   *holdersJSON  `json:"holders,omitempty"`
	Match     []stepJSON    `json:"match"`
	Route     *routeJSON    `json:"route,omitempty"`
	Retried   string        `json:"retried,omitempty"`
	Backends  []reachedJSON `json:"backends"`
	Fails     bool          `json:"fails"`
	Failures  []failureJSON `json:"failures"`
}

type callerJSON struct {
	Service   string     `json:"service,omitempty"`
	ID        string     `json:"id,omitempty"`
	Instance  string     `json:"instance,omitempty"`
	UserAgent string     `json:"userAgent,omitempty"`
	Region    string     `json:"region,omitempty"`
	Zone      string     `json:"zone,omitempty"`
	Connected *time.Time `json:"connected,omitempty"`
	Note      string     `json:"note,omitempty"`
}

type heldJSON struct {
	Type      string     `json:"type"`
	Name      string     `json:"name"`
	Version   string     `json:"version,omitempty"`
	Published string     `json:"published,omitempty"`
	State     string     `json:"state"`
	Note      string     `json:"note,omitempty"`
	At        *time.Time `json:"at,omitempty"`
	Assumed   bool       `json:"assumed"`
}

type holdersJSON struct {
	Instances int32 `json:"instances"`
	Current   int32 `json:"current"`
	Refused   int32 `json:"refused"`
}

type stepJSON struct {
	Name    string   `json:"name"`
	Method  string   `json:"method"`
	Headers []string `json:"headers"`
	Outcome string   `json:"outcome"`
	Reason  string   `json:"reason,omitempty"`
	Object  string   `json:"object"`
	Origin  string   `json:"origin"`
}

type reachedJSON struct {
	Cluster    string          `json:"cluster"`
	Service    string          `json:"service,omitempty"`
	Percent    float64         `json:"percent"`
	Error      string          `json:"error,omitempty"`
	Candidates []candidateJSON `json:"candidates"`
	Notes      []string        `json:"notes"`
	Access     *verdictJSON    `json:"access,omitempty"`
	Admission  *admissionJSON  `json:"admission,omitempty"`
}

type candidateJSON struct {
	Instance  string   `json:"instance"`
	Version   string   `json:"version,omitempty"`
	Addresses []string `json:"addresses"`
	Region    string   `json:"region"`
	Zone      string   `json:"zone"`
	Weight    uint32   `json:"weight"`
	Priority  uint32   `json:"priority"`
	State     string   `json:"state"`
	Use       string   `json:"use"`
}

type admissionJSON struct {
	RateLimits  []limitJSON      `json:"rateLimits"`
	Concurrency *concurrencyJSON `json:"concurrency,omitempty"`
	Fault       *faultJSON       `json:"fault,omitempty"`
}

type limitJSON struct {
	Name string `json:"name"`
	Per  string `json:"per"`
	Key  string `json:"key,omitempty"`

	RequestsPerSecond float64  `json:"requestsPerSecond"`
	Burst             uint32   `json:"burst"`
	Methods           []string `json:"methods"`
	Callers           []string `json:"callers"`
}

type concurrencyJSON struct {
	Limit     uint32  `json:"limit"`
	Adaptive  bool    `json:"adaptive"`
	Min       uint32  `json:"min,omitempty"`
	Max       uint32  `json:"max,omitempty"`
	Tolerance float64 `json:"tolerance,omitempty"`
}

type failureJSON struct {
	Percent  float64 `json:"percent"`
	Reason   string  `json:"reason"`
	Injected bool    `json:"injected"`
}

func explainResult(a *adminv1.ExplainCallResponse) explanationJSON {
	c := a.GetCaller()
	out := explanationJSON{
		Service: a.GetService(),
		Method:  a.GetMethod(),
		Caller: callerJSON{
			Service: c.GetService(), ID: c.GetId(), Instance: c.GetInstance(), UserAgent: c.GetUserAgent(),
			Region: c.GetRegion(), Zone: c.GetZone(), Connected: stamp(c.GetConnected()), Note: c.GetNote(),
		},
		Resources: []heldJSON{},
		Match:     []stepJSON{},
		Retried:   a.GetRetried(),
		Backends:  []reachedJSON{},
		Fails:     a.GetFails(),
		Failures:  []failureJSON{},
	}
	for _, r := range a.GetResources() {
		out.Resources = append(out.Resources, heldJSON{
			Type: r.GetType(), Name: r.GetName(), Version: r.GetVersion(), Published: r.GetPublished(),
			State: r.GetState(), Note: r.GetNote(), At: stamp(r.GetAt()), Assumed: r.GetAssumed(),
		})
	}
	if h := a.GetHolders(); h != nil {
		out.Holders = &holdersJSON{Instances: h.GetInstances(), Current: h.GetCurrent(), Refused: h.GetRefused()}
	}
	for _, s := range a.GetSteps() {
		out.Match = append(out.Match, stepJSON{
			Name: s.GetName(), Method: s.GetMethod(), Headers: orEmpty(s.GetHeaders()), Outcome: enumText(s.GetOutcome().String(), "ROUTE_OUTCOME_"),
			Reason: s.GetReason(), Object: s.GetObject(), Origin: s.GetOrigin(),
		})
	}
	if r := a.GetRoute(); r != nil {
		route := routeResult(r)
		out.Route = &route
	}
	for _, b := range a.GetBackends() {
		out.Backends = append(out.Backends, reachedResult(b))
	}
	for _, f := range a.GetFailures() {
		out.Failures = append(out.Failures, failureJSON{Percent: f.GetPercent(), Reason: f.GetReason(), Injected: f.GetInjected()})
	}
	return out
}

func enumText(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

func reachedResult(b *adminv1.BackendStep) reachedJSON {
	out := reachedJSON{
		Cluster:    b.GetBackend().GetCluster(),
		Service:    b.GetService(),
		Percent:    b.GetBackend().GetPercent(),
		Error:      b.GetError(),
		Candidates: []candidateJSON{},
		Notes:      orEmpty(b.GetNotes()),
		Admission:  admissionResult(b.GetAdmission()),
	}
	if v := b.GetAccess(); v != nil {
		out.Access = verdictResult(v)
	}
	for _, c := range b.GetCandidates() {
		out.Candidates = append(out.Candidates, candidateJSON{
			Instance: c.GetInstance(), Version: c.GetVersion(), Addresses: orEmpty(c.GetAddresses()), Region: c.GetRegion(), Zone: c.GetZone(),
			Weight: c.GetWeight(), Priority: c.GetPriority(), State: c.GetState(), Use: c.GetUse(),
		})
	}
	return out
}

func admissionResult(a *policyv1.Admission) *admissionJSON {
	if a == nil {
		return nil
	}
	out := &admissionJSON{RateLimits: []limitJSON{}}
	for _, l := range a.GetRateLimits() {
		out.RateLimits = append(out.RateLimits, limitJSON{
			Name: l.GetName(), Per: enumText(l.GetPer().String(), "PER_"), Key: l.GetMetadataKey(),
			RequestsPerSecond: l.GetRate().GetPerSecond(), Burst: l.GetRate().GetBurst(),
			Methods: orEmpty(l.GetMethods()), Callers: orEmpty(l.GetCallers()),
		})
	}
	if c := a.GetConcurrency(); c != nil {
		out.Concurrency = &concurrencyJSON{Limit: c.GetLimit(), Adaptive: c.GetAdaptive()}
		if c.GetAdaptive() {
			out.Concurrency.Min, out.Concurrency.Max, out.Concurrency.Tolerance = c.GetMin(), c.GetMax(), c.GetTolerance()
		}
	}
	if f := a.GetFault(); f != nil {
		out.Fault = &faultJSON{DelayPercent: float64(f.GetDelayPerMillion()) / 10_000, AbortPercent: float64(f.GetAbortPerMillion()) / 10_000}
		if f.GetDelayPerMillion() > 0 {
			out.Fault.Delay = durationText(f.GetDelay())
		}
		if f.GetAbortPerMillion() > 0 {
			out.Fault.AbortCode = resource.CodeName(f.GetAbortCode())
		}
	}
	return out
}
