package admin

import (
	"net/netip"
	"strings"
	"testing"
)

const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func TestSocketsAreReadAsTheKernelWritesThem(t *testing.T) {
	if strings.HasPrefix(byteOrder(), "big") {
		t.Skip("the rows are those of a little-endian machine")
	}
	for name, test := range map[string]struct {
		row  string
		want socket
	}{
		"a connection of IPv4": {
			"   5: 0100007F:46A0 0100007F:9C42 01 00000000:00000000 00:00000000 00000000  1000        0 81921 1 0000000000000000 20 4 30 10 -1",
			socket{netip.MustParseAddrPort("127.0.0.1:18080"), netip.MustParseAddrPort("127.0.0.1:40002"), true, 1000, 81921},
		},
		"one of IPv6 that is listened on": {
			"   0: 00000000000000000000000001000000:46A0 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0000000000000000 100 0 0 10 0",
			socket{netip.MustParseAddrPort("[::1]:18080"), netip.MustParseAddrPort("[::]:0"), false, 0, 7},
		},
		"one of IPv6 that speaks IPv4": {
			"   0: 0000000000000000FFFF00000100007F:9C42 0000000000000000FFFF00000100007F:46A0 01 00000000:00000000 00:00000000 00000000    33        0 9 1 0 20 4 30 10 -1",
			socket{netip.MustParseAddrPort("127.0.0.1:40002"), netip.MustParseAddrPort("127.0.0.1:18080"), true, 33, 9},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for got, err := range sockets(strings.NewReader(header + test.row + "\n")) {
				if err != nil || got != test.want {
					t.Errorf("got %+v, %v, want %+v", got, err, test.want)
				}
			}
		})
	}
}

// byteOrder says which end of a word comes first here.
func byteOrder() string {
	end, err := parseEnd("0100007F:0000")
	if err == nil && end.Addr() == netip.MustParseAddr("127.0.0.1") {
		return "little"
	}
	return "big"
}

func TestATableThatIsNoneIsAnError(t *testing.T) {
	for name, row := range map[string]string{
		"too short":              "0: 0100007F:46A0 0100007F:9C42 01",
		"an address of no kind":  "0: 01007F:46A0 0100007F:9C42 01 0:0 00:0 0 0 0 1",
		"an address that is not": "0: 0100007F:46A0 nowhere:9C42 01 0:0 00:0 0 0 0 1",
		"a port that is too big": "0: 0100007F:46A00 0100007F:9C42 01 0:0 00:0 0 0 0 1",
		"a user that is none":    "0: 0100007F:46A0 0100007F:9C42 01 0:0 00:0 0 root 0 1",
		"an inode that is none":  "0: 0100007F:46A0 0100007F:9C42 01 0:0 00:0 0 0 0 x",
	} {
		t.Run(name, func(t *testing.T) {
			for s, err := range sockets(strings.NewReader(header + row)) {
				if err == nil {
					t.Errorf("got %+v, want an error", s)
				}
			}
		})
	}
}

func FuzzSockets(f *testing.F) {
	f.Add(header + "5: 0100007F:46A0 0100007F:9C42 01 0:0 00:0 0 1000 0 81921 1\n")
	f.Fuzz(func(t *testing.T, table string) {
		rows := 0
		for s, err := range sockets(strings.NewReader(table)) {
			if rows++; err == nil && (!s.local.IsValid() || !s.remote.IsValid()) {
				t.Errorf("a row without addresses: %+v", s)
			}
		}
		if most := strings.Count(table, "\n") + 1; rows > most {
			t.Errorf("%d rows of %d lines", rows, most)
		}
	})
}
