package consul

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// FuzzCompileRouting has anything for chains and entries: what comes of them is good for
// the model, or it is told of, and nothing panics.
func FuzzCompileRouting(f *testing.F) {
	for _, s := range scenarios() {
		chains, err := os.ReadFile(s.file())
		if err != nil {
			f.Fatal(err)
		}
		entries, err := json.Marshal(s.entries)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(chains, entries)
	}
	f.Add([]byte(`{"web":{"StartNode":"a","Nodes":{"a":{"Type":"router","Routes":[null,{"NextNode":"b"},{"NextNode":"c"}]},"b":null,`+
		`"c":{"Type":"splitter","Splits":[null,{"Weight":1e9,"NextNode":"c"},{"Weight":50,"NextNode":"c"}]}},"Targets":{"x":null}},"":{},"Ü":null}`),
		[]byte(`[{"Kind":"service-router","Name":"web","Routes":[{}]}]`))
	f.Fuzz(func(t *testing.T, chainsJSON, entriesJSON []byte) {
		found := map[string]*api.CompiledDiscoveryChain{}
		if json.Unmarshal(chainsJSON, &found) != nil {
			return
		}
		chains := map[entryName]*api.CompiledDiscoveryChain{}
		for name, chain := range found {
			if chain != nil { // which the reader refuses
				chains[entryNamed("", name)] = chain
			}
		}
		var list []json.RawMessage
		if json.Unmarshal(entriesJSON, &list) != nil {
			return
		}
		var entries []api.ConfigEntry
		for _, data := range list {
			err := safely(func() error {
				e, err := api.DecodeConfigEntryFromJSON(data)
				if err == nil && entriesOf(nil)[e.GetKind()] != nil {
					entries = append(entries, e)
				}
				return err
			})
			if err != nil {
				return
			}
		}
		p := compileRouting(entriesOf(entries), chains, filters{})
		for _, problem := range p.problems {
			if problem.From == "" || problem.Message == "" {
				t.Errorf("%+v says too little", problem)
			}
		}
		accepted(t, p)
		if p.subsets != nil {
			p.subsets(model.ServiceName{}, &api.ServiceEntry{Node: &api.Node{}, Service: &api.AgentService{Service: "web"}})
		}
	})
}

// Bytes that are turned at random are hardly ever JSON, so values are: of what a real
// agent said, and of the entries.
func TestWhatComesOfDamagedAnswersIsGoodOrToldOf(t *testing.T) {
	all := scenarios()
	reached := 0
	for seed := range uint64(4000) {
		s := all[seed%uint64(len(all))]
		random := rand.New(rand.NewPCG(seed, 0))
		data, err := os.ReadFile(s.file())
		if err != nil {
			t.Fatal(err)
		}
		var chains map[string]any
		if err := json.Unmarshal(data, &chains); err != nil {
			t.Fatal(err)
		}
		found := map[string]*api.CompiledDiscoveryChain{}
		if err := json.Unmarshal(damaged(t, chains, random), &found); err != nil {
			continue
		}
		compiled := map[entryName]*api.CompiledDiscoveryChain{}
		for name, chain := range found {
			if chain != nil {
				compiled[entryNamed("", name)] = chain
			}
		}
		var entries []api.ConfigEntry
		for _, e := range s.entries {
			text, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			var values map[string]any
			if err := json.Unmarshal(text, &values); err != nil {
				t.Fatal(err)
			}
			kind := values["Kind"]
			var other map[string]any
			if err := json.Unmarshal(damaged(t, values, random), &other); err != nil || other == nil {
				continue
			}
			other["Kind"] = kind
			if text, err = json.Marshal(other); err != nil {
				t.Fatal(err)
			}
			if e, err := api.DecodeConfigEntryFromJSON(text); err == nil {
				entries = append(entries, e)
			}
		}
		reached++
		if accepted(t, compileRouting(entriesOf(entries), compiled, filters{})); t.Failed() {
			t.Fatalf("of the answer %q, damaged with the seed %d", s.name, seed)
		}
	}
	if t.Logf("%d of 4000 were answers that can be read", reached); reached < 1000 {
		t.Errorf("%d of 4000 were answers that can be read, which tests little", reached)
	}
}

// damaged is JSON of a value some of whose parts are others.
func damaged(t *testing.T, v any, random *rand.Rand) []byte {
	t.Helper()
	data, err := json.Marshal(damage(v, random))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// hostile are values that stand where others should.
var hostile = []any{
	nil, "", "x", "%", "Ü", "/a.B/C", "/", "(", ".*", strings.Repeat("a.", 2000), "dc2", "grpc-x", ":path", "a--b", "-1s", "1ns", "999999h",
	-1, 0, 1, 1e9, 1e30, true,
	[]any{nil},
	map[string]any{},
}

func damage(v any, random *rand.Rand) any {
	if random.IntN(60) == 0 {
		return hostile[random.IntN(len(hostile))]
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			v[key] = damage(v[key], random)
		}
	case []any:
		for i := range v {
			v[i] = damage(v[i], random)
		}
		if len(v) > 0 && random.IntN(20) == 0 {
			for range random.IntN(400) {
				v = append(v, v[0])
			}
		}
		return v
	}
	return v
}
