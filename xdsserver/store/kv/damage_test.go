package kv

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// putAll writes n keys at one time.
func putAll(kv *api.KV, below string, from, n int) error {
	ops := make(api.KVTxnOps, n)
	for i := range ops {
		ops[i] = &api.KVTxnOp{Verb: api.KVSet, Key: fmt.Sprintf("%s/t-%05d", below, from+i), Value: []byte("x")}
	}
	ok, answer, _, err := kv.Txn(ops, nil)
	if err == nil && !ok {
		err = fmt.Errorf("%v", answer.Errors)
	}
	return err
}

// large are changes that take more than one value.
func large(t testing.TB, n int) []store.Change {
	t.Helper()
	out := make([]store.Change, n)
	for i := range out {
		name := fmt.Sprintf("service-%05d", i)
		yaml := fmt.Sprintf("apiVersion: tulle/v1\nkind: Service\nmetadata:\n  name: %s\n  annotations:\n    note: %q\n", name, noise(i, 300))
		out[i] = store.Change{Ref: service(name), YAML: []byte(yaml)}
	}
	return out
}

// noise is text that hardly gets smaller.
func noise(seed, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString(id(fmt.Append(nil, seed, i)))
	}
	return b.String()[:n]
}

// raw are a test's own hands in Consul.
type raw struct {
	t  *testing.T
	kv *api.KV
	in string
}

func (r raw) get(key string) []byte {
	r.t.Helper()
	pair, _, err := r.kv.Get(r.in+"/"+key, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if pair == nil {
		return nil
	}
	return pair.Value
}

func (r raw) put(key string, value []byte) {
	r.t.Helper()
	var err error
	if value == nil {
		_, err = r.kv.Delete(r.in+"/"+key, nil)
	} else {
		_, err = r.kv.Put(&api.KVPair{Key: r.in + "/" + key, Value: value}, nil)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r raw) keys(below string) []string {
	r.t.Helper()
	keys, _, err := r.kv.Keys(r.in+"/"+below, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range keys {
		keys[i] = strings.TrimPrefix(keys[i], r.in+"/")
	}
	return keys
}

// A key that cannot be read is named; what is known stays, nothing is applied on top of
// what is not, and when the key is back all goes on.
func TestDamagedLogIsNamedAndWhatIsKnownStays(t *testing.T) {
	agent := consultest.Start(t)
	newer, err := pack(record{Format: 2}, maxUnpacked)
	if err != nil {
		t.Fatal(err)
	}
	empty, err := pack(record{Format: format, Changes: []change{{Kind: "Service", Namespace: "default", Name: "nobody"}}}, maxUnpacked)
	if err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct {
		name    string
		key     func(r raw) string
		value   []byte
		want    string
		current bool // also who has read the key before must see it
	}{
		{"a revision is nonsense", func(raw) string { return revisionKey(4) }, []byte("nonsense"), revisionKey(4), false},
		{"a revision is of a newer xdsserver", func(raw) string { return revisionKey(4) }, newer, "it has format 2", false},
		{"a revision is missing", func(raw) string { return revisionKey(4) }, nil, revisionKey(4), false},
		{"a revision follows another", func(raw) string { return revisionKey(4) }, empty, "follows another revision", false},
		{"a part is missing", func(r raw) string { return r.keys(partsBelow)[1] }, nil, "/0001", false},
		{"a part is nonsense", func(r raw) string { return r.keys(partsBelow)[1] }, []byte("nonsense"), "checksum does not match", false},
		{"what the log begins with is nonsense", func(raw) string { return latestKey }, []byte("nonsense"), latestKey, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			prefix := fmt.Sprint("damage", i)
			r := raw{t, agent.Client(t).KV(), prefix}
			writer, behind := open(t, agent, prefix, ""), open(t, agent, prefix, "")
			apply(t, writer, "voting", "v1")
			apply(t, writer, "voting", "v2")
			apply(t, behind, "web", "w") // it knows three revisions
			if _, err := writer.Apply(t.Context(), large(t, 3000), store.Intent{}); err != nil {
				t.Fatal(err)
			}
			apply(t, writer, "voting", "v5")
			key := test.key(r)
			good := r.get(key)
			if good == nil {
				t.Fatalf("%s is not there", key)
			}
			r.put(key, test.value)

			if _, err := Open(t.Context(), Config{Client: client(t, agent, prefix), Logger: slog.New(slog.DiscardHandler)}); test.value != nil &&
				(err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("a start: got %v, want an error with %q", err, test.want)
			}
			if !test.current {
				o := run(t, behind)
				until(t, "the output says so", func() bool { return o.get().Err != nil })
				if got := o.get(); !strings.Contains(got.Err.Error(), test.want) || got.Generation != 3 || dump(behind) != "voting=v2 web=w" {
					t.Errorf("got %+v, want an error with %q", got, test.want)
				}
				if test.value != nil {
					_, err := behind.Apply(t.Context(), changes("web", "w2"), store.Intent{})
					if err == nil || !strings.Contains(err.Error(), nothing) || !strings.Contains(behind.Status().Problem, test.want) {
						t.Errorf("apply: got %v, status %q", err, behind.Status().Problem)
					}
				}
				r.put(key, good)
				until(t, "it goes on", func() bool { return o.get().Err == nil && o.get().Generation == 5 })
				if len(o.get().Problems) > 3002 || dump(behind) != dump(writer) {
					t.Errorf("%d problems after it", len(o.get().Problems))
				}
			}
		})
	}
}

func TestLeaderMendsALogThatItHasRead(t *testing.T) {
	agent := consultest.Start(t)
	r := raw{t, agent.Client(t).KV(), "mend"}
	s := open(t, agent, "mend", "")
	run(t, s)
	grow(t, s, maxLog+5)
	r.put(revisionKey(50), []byte("nonsense"))
	if _, err := Open(t.Context(), Config{Client: client(t, agent, "mend"), Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), revisionKey(50)) {
		t.Errorf("a start: got %v", err)
	}
	leading(t, s.client, func(f consul.Fence) {
		if err := s.Compact(t.Context(), f); err != nil {
			t.Error(err)
		}
	})
	again := open(t, agent, "mend", "")
	if dump(again) != dump(s) || again.Revision() != maxLog+5 || !strings.Contains(s.log.String(), "log of changes is damaged") {
		t.Errorf("got %q at %d, log %s", dump(again), again.Revision(), s.log)
	}
	for i, each := range []rig{again, s} {
		if got := apply(t, each, "web", time.Duration(i).String()); got != uint64(maxLog+6+i) {
			t.Errorf("the next change: got %d", got)
		}
	}
}
