package snapshot

// addInbound publishes what the service's servers start from and decide by, each
// resource that is refused in its previous form. It is apart from what clients of
// the service have: neither does a bad route keep a policy from being enforced, nor
// a bad policy a route.
//
// Servers that have no rules take no call, so what has no previous form is closed.
func (a *assembly) addInbound(u *unit) {
	for _, m := range u.inbound {
		name := m.resource.Name
		if m.refusal == "" {
			a.put(m)
			continue
		}
		a.blame(u, fault{policies: true, what: "a server would refuse it: " + m.refusal})
		if before := a.last[m.kind][name]; before != nil {
			a.now[m.kind][name] = before
		}
	}
	for _, m := range u.inbound {
		if m.kind == routes && a.now[routes][m.resource.Name] == nil {
			// A Listener without its RouteConfiguration would leave servers waiting.
			a.dropListeners(u)
		}
	}
}

func (a *assembly) dropListeners(u *unit) {
	for _, m := range u.inbound {
		if m.kind == listeners {
			delete(a.now[listeners], m.resource.Name)
		}
	}
}
