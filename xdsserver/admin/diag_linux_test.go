package admin

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
)

func TestTheKernelSaysWhoseASocketIs(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		lis, err := net.Listen("tcp", address)
		if err != nil {
			t.Log(err)
			continue
		}
		client, err := net.Dial("tcp", lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		local, remote, err := ends(server.(*net.TCPConn))
		if err != nil {
			t.Fatal(err)
		}
		// Both ways of asking say the same.
		byTable, ok, err := lookup(func(s socket) bool { return s.local == remote && s.remote == local && s.established })
		if err != nil || !ok || byTable.uid != os.Getuid() {
			t.Errorf("%s: the tables say %+v, %v, %v", address, byTable, ok, err)
		}
		got, ok, err := diagnose(remote, local)
		if errors.Is(err, errDiag) {
			t.Skipf("this kernel has no diagnosis: %v", err)
		}
		if err != nil || !ok || got.uid != byTable.uid || got.inode != byTable.inode {
			t.Errorf("%s: the diagnosis says %+v, %v, %v, want %+v", address, got, ok, err, byTable)
		}
		// The listener is no connection.
		if _, ok, err := diagnose(local, netip.AddrPortFrom(remote.Addr(), 1)); ok || err != nil {
			t.Errorf("%s: a connection that is not there: %v, %v", address, ok, err)
		}
		for _, c := range []interface{ Close() error }{client, server, lis} {
			_ = c.Close()
		}
	}
}

func FuzzReadDiag(f *testing.F) {
	local, remote := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")
	good := make([]byte, diagAnswer)
	binary.NativeEndian.PutUint16(good[4:], sockDiagByFamily)
	good[diagState] = established
	copy(good[diagID:], diagPair(local, remote))
	binary.NativeEndian.PutUint32(good[diagUser:], 1000)
	f.Add(good)
	f.Add(good[:40])
	refused := make([]byte, diagHeader+4)
	binary.NativeEndian.PutUint16(refused[4:], syscall.NLMSG_ERROR)
	f.Add(refused)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, found, err := readDiag(b, local, remote)
		if found && (err != nil || s.local != local || s.remote != remote) {
			t.Errorf("found %+v, %v", s, err)
		}
	})
}

func BenchmarkOwner(b *testing.B) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer lis.Close()
	client, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	server, err := lis.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := owner(server); err != nil {
			b.Fatal(err)
		}
	}
}
