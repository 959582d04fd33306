package manifest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func TestParseReadsEverythingThatIsServed(t *testing.T) {
	in, err := os.ReadFile("testdata/mesh.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, problems := Parse("mesh.yaml", in)
	if len(problems) > 0 {
		t.Fatalf("problems: %+v", problems)
	}
	voting := model.ServiceName{Namespace: "shop", Name: "voting"}
	short, none := 300*time.Millisecond, time.Duration(0)
	want := []model.Object{
		&model.Service{Name: model.ServiceName{Namespace: "default", Name: "web"}, From: "mesh.yaml:2"},
		&model.Service{
			Name: voting, From: "mesh.yaml:6", Timeout: 90 * time.Second, MaxRequests: 100,
			Endpoints: []model.Endpoint{
				{
					Service: voting, From: "mesh.yaml:15",
					Addresses: []string{"10.0.0.1:8080"}, Version: "v1", Zone: "a", Region: "eu",
				},
				{
					Service: voting, From: "mesh.yaml:16",
					Addresses: []string{"10.0.0.2:8080"}, Version: "2.0", Weight: 3, Instance: "second",
				},
				{
					Service: voting, From: "mesh.yaml:20",
					Addresses: []string{"10.0.0.3:8080", "[2001:db8::3]:8080"},
				},
			},
		},
		&model.Route{
			Namespace: "shop", Name: "voting.canary", From: "mesh.yaml:22", Parents: []model.ServiceName{voting},
			Rules: []model.Rule{
				{
					Name: "testers",
					Matches: []model.Match{
						{
							Service: "emojivoto.v1.VotingService", Method: "VoteDoughnut",
							Headers: []model.HeaderMatch{{Name: "X-Tester", Value: "true"}},
						},
						{
							Service: `emojivoto\..*`, Method: "Vote(Ghost|Poop)", Regex: true,
							Headers: []model.HeaderMatch{{Name: "x-user", Value: "[a-f].*", Regex: true}},
						},
					},
					Backends: []model.Backend{{Service: voting, Version: "v2", Weight: 1}},
					Timeout:  &short,
					Fault: &model.Fault{
						Delay: 500 * time.Millisecond, DelayPerMillion: 100, AbortCode: 8, AbortPerMillion: 25_000,
					},
				},
				{
					Backends: []model.Backend{
						{Service: voting, Version: "v1", Weight: 90},
						{Service: voting, Version: "v2", Weight: 10},
						{Service: model.ServiceName{Namespace: "default", Name: "audit"}},
					},
					Timeout: &none,
				},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseReadsWhatKubernetesPrints(t *testing.T) {
	in, err := os.ReadFile("testdata/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, problems := Parse("gateway.yaml", in)
	voting := model.ServiceName{Namespace: "emojivoto", Name: "voting-svc"}
	want := []model.Object{&model.Route{
		Namespace: "emojivoto", Name: "voting", From: "gateway.yaml:2", Parents: []model.ServiceName{voting},
		Rules: []model.Rule{{
			Matches:  []model.Match{{Service: "emojivoto.v1.VotingService", Method: "VoteDoughnut"}},
			Backends: []model.Backend{{Service: voting, Weight: 1}},
		}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	wantProblems(t, problems,
		"warning gateway.yaml:30:7 spec.parentRefs[0].port: port has no effect",
		"warning gateway.yaml:41:11 spec.rules[0].backendRefs[0].port: port has no effect",
	)
}

func TestParseReadsWindowsFilesAndByteOrderMarks(t *testing.T) {
	in := "\ufeffapiVersion: tulle/v1\r\nkind: Service\r\nmetadata: {name: voting}\r\n---\r\napiVersion: tulle/v1\r\nkind: " +
		"Service\r\nmetadata: {nam: web}\r\n"
	objects, problems := Parse("f", []byte(in))
	if len(objects) != 1 || objects[0].Origin() != "f:1" {
		t.Errorf("got %+v", objects)
	}
	wantProblems(t, problems, `error f:7:12 metadata.nam: unknown field "nam": did you mean name?`)
}

func TestParseReadsTheGoodDocumentsBesideTheBad(t *testing.T) {
	good := func(name string) string {
		return "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: " + name + "}\n"
	}
	in := good("a") + "---\n{ this is [no YAML\n---\n" + good("b") + "spec: {tiemout: 1s}\n---\n" + good("c")
	objects, problems := Parse("f", []byte(in))
	var got []string
	for _, o := range objects {
		got = append(got, o.Ref().Name)
	}
	if diff := cmp.Diff([]string{"a", "c"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	wantProblems(t, problems, "error f:5:", "error f:10:8 spec.tiemout: ... did you mean timeout?")
	if want := (model.Ref{Kind: model.KindService, Namespace: "default", Name: "b"}); problems[1].Object != want {
		t.Errorf("the problem is shown on %v, want %v", problems[1].Object, want)
	}
}

func TestParseKeepsTheFirstOfTwoDocuments(t *testing.T) {
	one := "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\n"
	objects, problems := Parse("f", []byte(one+"spec: {timeout: 1s}\n---\n"+one))
	if len(objects) != 1 || objects[0].(*model.Service).Timeout != time.Second {
		t.Errorf("got %+v, want the first", objects)
	}
	wantProblems(t, problems, "error f:6 metadata.name: Service voting is written twice, at f:1 and at f:6: the first stays")
}

func TestParseOfNothingIsNothing(t *testing.T) {
	for _, in := range []string{"", "\n", "# a comment\n", "---\n---\n...\n", "--- # x\n"} {
		if objects, problems := Parse("f", []byte(in)); objects != nil || problems != nil {
			t.Errorf("%q: got %v, %v", in, objects, problems)
		}
	}
}

func TestParseBoundsWhatItTells(t *testing.T) {
	t.Run("errors end the reading", func(t *testing.T) {
		objects, problems := Parse("f", []byte(strings.Repeat("kind: X\n---\n", 150)+serviceHead))
		if len(objects) != 0 || len(problems) != maxErrors+1 {
			t.Fatalf("got %d objects, %d problems", len(objects), len(problems))
		}
		wantProblems(t, problems[maxErrors:], "error f:201 : is not read any more after 100 errors: correct those first")
	})
	t.Run("errors of one document are bounded", func(t *testing.T) {
		_, problems := Parse("f", []byte(serviceHead+"spec: {endpoints: ["+strings.Repeat("{a: b},", 1000)+"]}"))
		if len(problems) != maxErrors {
			t.Fatalf("got %d problems", len(problems))
		}
	})
	t.Run("warnings do not", func(t *testing.T) {
		var b strings.Builder
		for i := range 150 {
			fmt.Fprintf(&b, "---\napiVersion: tulle/v1\nkind: Service\nmetadata: {name: s%d, annotations: {retry.linkerd.io/grpc: x}}\n", i)
		}
		objects, problems := Parse("f", []byte(b.String()))
		if len(objects) != 150 || len(problems) != maxWarnings+1 {
			t.Fatalf("got %d objects, %d problems", len(objects), len(problems))
		}
		wantProblems(t, problems[maxWarnings:], "warning f : has 50 more warnings")
	})
}

// wantProblems checks that there is one problem per want, each holding its
// words (separated by "..."), in order.
func wantProblems(t *testing.T, problems []model.Problem, want ...string) {
	t.Helper()
	got := make([]string, 0, len(problems))
	for _, p := range problems {
		kind := "error"
		if p.Warning {
			kind = "warning"
		}
		got = append(got, kind+" "+p.From+" "+p.Field+": "+p.Message)
	}
	if len(got) != len(want) {
		t.Fatalf("got %d problems, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i, w := range want {
		rest := got[i]
		for part := range strings.SplitSeq(w, "...") {
			_, after, found := strings.Cut(rest, strings.TrimSpace(part))
			if !found {
				t.Errorf("problem %d:\n got  %s\n want %s\n (no %q)", i, got[i], w, part)
				break
			}
			rest = after
		}
	}
}
