package snapshot

import (
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

// orders are the Commands of all services, encoded. They are apart from what services
// are configured to be: commands come and go by the minute, are judged by our own decoder
// alone, since no stock client asks for them, and the worst that a refused one does is
// nothing.
type orders struct {
	mesh *model.Mesh // of which made is made, too
	made map[model.ServiceName]order
}

type order struct {
	commands *model.Commands // immutable, nil for none
	made     *made
}

// of returns the Commands of every service of the set and of those that only call, made
// anew where they changed.
func (o *orders) of(set *model.Set, t translator) []*made {
	if set.Mesh != o.mesh {
		o.made = nil
	}
	before := o.made
	o.mesh, o.made = set.Mesh, make(map[model.ServiceName]order, len(set.Services)+1)
	all := make([]*made, 0, len(set.Services)+1)
	add := func(name model.ServiceName) {
		if _, done := o.made[name]; done {
			return
		}
		c := set.Commands[name]
		next, known := before[name]
		if !known || next.commands != c {
			next = order{c, t.encodeAll([]translate.Resource{translate.Commands(name, c, set.Mesh)}, nil)[0]}
		}
		o.made[name] = next
		all = append(all, next.made)
	}
	add(model.ClientService)
	for name := range set.Services {
		add(name)
	}
	for name := range set.Commands {
		add(name)
	}
	return all
}

// addCommands publishes commands, but for those that a process would refuse: they keep
// no form they had before, which somebody has ended.
func (a *assembly) addCommands(all []*made) {
	for _, m := range all {
		if m.refusal == "" {
			a.put(m)
			continue
		}
		a.problems = append(a.problems, model.Problem{
			From:    "commands",
			Message: "a process would refuse what it is told to do: " + m.refusal + "; it is not published: report this",
		})
	}
}
