package stock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// bootstrap is what is checked of a bootstrap before grpc-go reads it, which it
// does only when a connection leaves idleness. Fields that are not here are its
// business.
type bootstrap struct {
	Servers     []server             `json:"xds_servers"` //nolint:tagliatelle // gRFC A27 names it
	Authorities map[string]authority `json:"authorities"`
	Node        *struct {
		ID string `json:"id"`
	} `json:"node"`
}

type authority struct {
	Servers []server `json:"xds_servers"` //nolint:tagliatelle // gRFC A27 names it
}

type server struct {
	URI         string        `json:"server_uri"`    //nolint:tagliatelle // gRFC A27 names it
	Credentials []credentials `json:"channel_creds"` //nolint:tagliatelle // gRFC A27 names it
}

type credentials struct {
	Type   string          `json:"type"`
	Config json.RawMessage `json:"config"`
}

// check returns an error that names the first field that cannot work.
func check(raw []byte) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return errors.New("is empty: give the JSON that GRPC_XDS_BOOTSTRAP would name")
	}
	var b bootstrap
	if err := json.Unmarshal(raw, &b); err != nil {
		return fmt.Errorf("is no bootstrap in JSON: %w", err)
	}
	if len(b.Servers) == 0 {
		return errors.New("xds_servers: names no server")
	}
	if b.Node == nil || b.Node.ID == "" {
		return errors.New("node.id: is empty: control planes tell clients apart by it")
	}
	seen := make(map[string]string)
	if err := checkServers("xds_servers", b.Servers, seen); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(b.Authorities)) {
		where := fmt.Sprintf("authorities[%q].xds_servers", name)
		if err := checkServers(where, b.Authorities[name].Servers, seen); err != nil {
			return err
		}
	}
	return nil
}

// checkServers looks at one list of servers. seen is the configuration of each
// type of credentials so far: grpc-go keeps one transport for each type, so that
// of two configurations one would be used for both servers.
func checkServers(where string, servers []server, seen map[string]string) error {
	for i, s := range servers {
		at := fmt.Sprintf("%s[%d]", where, i)
		if s.URI == "" {
			return fmt.Errorf("%s.server_uri: is empty", at)
		}
		if len(s.Credentials) == 0 {
			return fmt.Errorf(`%s.channel_creds: names no credentials: give [{"type": "insecure"}], or "tls"`, at)
		}
		for _, c := range s.Credentials {
			config := compact(c.Config)
			if other, ok := seen[c.Type]; ok && other != config {
				return fmt.Errorf("%s.channel_creds: %q has another config than that of a server before: "+
					"grpc-go would use one of them for both; dial with a bootstrap for each", at, c.Type)
			}
			seen[c.Type] = config
		}
	}
	return nil
}

// compact is the same for the same JSON, however it is spaced. Nothing and null
// are the same.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if len(raw) == 0 || json.Compact(&b, raw) != nil || b.String() == "null" {
		return ""
	}
	return b.String()
}
