package snapshot

import (
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// addTrust publishes what peers are verified against. A bundle that is refused
// keeps its previous form: with none at all nobody could connect to anybody.
func (a *assembly) addTrust(trust []*made) {
	for _, m := range trust {
		if m.refusal == "" {
			a.put(m)
			continue
		}
		then := "; what was published before stays in use"
		if before := a.last[m.kind][m.resource.Name]; before != nil {
			a.now[m.kind][m.resource.Name] = before
		} else {
			then = "; nobody can be verified"
		}
		a.problems = append(a.problems, model.Problem{
			From:    "identity",
			Message: "a process would refuse the trust bundle: " + m.refusal + then + ": check the authority's roots",
		})
	}
}
