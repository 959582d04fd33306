package report

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// Machine is what a run depends on.
type Machine struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	MemoryGB int    `json:"memoryGb,omitempty"`
	System   string `json:"system"`
	Kernel   string `json:"kernel,omitempty"`
	Go       string `json:"go"`
	// Versions are those of what is measured, by name.
	Versions map[string]string `json:"versions"`
}

// ThisMachine reads what the system says of itself; where it says nothing, that is empty.
func ThisMachine() Machine {
	m := Machine{
		CPU: "unknown", Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Go: runtime.Version(), Versions: map[string]string{},
	}
	if name := field("/proc/cpuinfo", "model name"); name != "" {
		m.CPU = name
	}
	if kb := strings.Fields(field("/proc/meminfo", "MemTotal")); len(kb) > 0 {
		m.MemoryGB = gigabytes(kb[0])
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "google.golang.org/grpc" || d.Path == "github.com/envoyproxy/go-control-plane" {
				m.Versions[d.Path] = d.Version
			}
		}
	}
	return m
}

func gigabytes(kb string) int {
	n := 0
	for _, c := range kb {
		n = n*10 + int(c-'0')
	}
	return (n + 1<<19) >> 20
}

// field reads "name : value" of a file.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
