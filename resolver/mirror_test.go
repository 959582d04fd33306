package resolver

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A mirror's cluster is a cluster as any other: what its calls need is there before
// the first of them.
func TestAClusterThatCallsAreMirroredToIsInTheConfig(t *testing.T) {
	t.Run("and waited for like one that they are sent to", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			src.mirror("voting", "voting", "shadow")
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			if got := b.Targets()[0]; c.updates() != 0 || !slices.Equal(got.Waiting, []string{`Cluster "shadow"`}) {
				t.Fatalf("%d updates, waiting for %q", c.updates(), got.Waiting)
			}
			src.cluster("shadow", "shadow")
			src.endpoints("shadow", "10.0.0.9:1")
			synctest.Wait()
			if got := slices.Sorted(maps.Keys(c.config().Clusters)); !slices.Equal(got, []string{"shadow", "voting"}) {
				t.Errorf("clusters = %q", got)
			}
			if got := c.addresses(); !slices.Contains(got, "10.0.0.9:1") {
				t.Errorf("addresses = %q, want those of the mirror too", got)
			}
			if got := b.Targets()[0].Clusters; !slices.Equal(got, []string{"shadow", "voting"}) {
				t.Errorf("status: clusters = %q", got)
			}
		})
	})

	t.Run("but the routes before go on meanwhile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			first := c.config()
			src.mirror("voting", "voting", "shadow")
			src.endpoints("voting", "10.0.0.8:1")
			synctest.Wait()
			if got := c.config(); got.VirtualHost != first.VirtualHost || !slices.Equal(c.addresses(), []string{"10.0.0.8:1"}) {
				t.Errorf("got %+v at %q, want the routes before at the newest addresses", got, c.addresses())
			}
			src.cluster("shadow", "shadow")
			src.endpoints("shadow", "10.0.0.9:1")
			synctest.Wait()
			if c.config().Clusters["shadow"] == nil {
				t.Error("the mirror is not there")
			}
			// What needs it no more lets it go.
			src.route("voting", "voting")
			synctest.Wait()
			if c.config().Clusters["shadow"] != nil || src.watched(resource.ClusterType, "shadow") {
				t.Error("the mirror is still there")
			}
		})
	})

	t.Run("and is none where it is known not to be", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			src.mirror("voting", "voting", "gone")
			src.fail(resource.ClusterType, "gone", errNotFound)
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			if c.config() == nil || c.config().Clusters["gone"].Err == nil || c.config().Clusters["voting"].Err != nil {
				t.Errorf("config = %+v", c.config())
			}
		})
	})
}
