package registry

import (
	"fmt"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// One look at 50,000 endpoints: at most 20 a second are taken.
func BenchmarkLook50000(b *testing.B) {
	r := New(Config{})
	now := time.Now()
	for i := range 50_000 {
		e := model.Endpoint{
			Service:   model.ServiceName{Namespace: "default", Name: fmt.Sprint("s", i%5000)},
			Instance:  fmt.Sprint("i", i),
			Addresses: []string{fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255)},
		}
		s := &session{conn: i, over: make(chan struct{})}
		if err := r.table.open(s, e, now); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if endpoints, _, _ := r.look(); len(endpoints) != 50_000 {
			b.Fatal(len(endpoints))
		}
	}
}
