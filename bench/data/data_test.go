package data

import (
	"strings"
	"testing"

	"github.com/tulle-mesh/tulle/xdsserver/manifest"
)

func TestModesHaveNamesAndServicesOfTheirOwn(t *testing.T) {
	names, services := map[string]bool{}, map[string]bool{}
	for _, m := range modes() {
		if names[m.name] || strings.Contains(m.name, ",") {
			t.Errorf("%q: --only could not name it", m.name)
		}
		names[m.name] = true
		if m.service != "" && services[m.service] {
			t.Errorf("%s: the service %s is another mode's", m.name, m.service)
		}
		services[m.service] = true
		if m.manifests == "" {
			continue
		}
		text := m.manifests + accessOf(m.service)
		if _, problems := manifest.Parse(m.name, []byte(text)); len(problems) > 0 {
			t.Errorf("%s: %v", m.name, problems)
		}
	}
	for _, name := range []string{baseline, tulleMode, otelMode, envoyMode, haproxyMode} {
		if !names[name] {
			t.Errorf("figures speak of %q, which is no mode", name)
		}
	}
}

func TestModesThatDoNotExistAreToldOf(t *testing.T) {
	for _, only := range [][]string{{"Tulle", "Nonsense"}, {"tulle"}} {
		err := (&Config{Only: only}).check()
		if err == nil || !strings.Contains(err.Error(), "there are plain insecure, ") {
			t.Errorf("%q: got %v", only, err)
		}
	}
	if err := (&Config{Only: []string{"Tulle", "Envoy pair"}}).check(); err != nil {
		t.Error(err)
	}
}
