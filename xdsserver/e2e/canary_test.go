package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/api"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// disguises are what a secret looks like where it is part of something that is encoded:
// in base64 it is one of three texts, by where it begins.
func disguises(secret string) []string {
	out := []string{secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for _, coding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for lead := range 3 {
			text := coding.EncodeToString([]byte(strings.Repeat("\x00", lead) + secret))
			// What depends on neighbours is cut off.
			from, to := []int{0, 2, 3}[lead], len(text)
			if (lead+len(secret))%3 != 0 {
				to--
			}
			out = append(out, text[from:to])
		}
	}
	return out
}

// disguised is secrets in all their disguises.
func disguised(secrets map[string]string) map[string]string {
	out := make(map[string]string)
	for what, secret := range secrets {
		for _, text := range disguises(secret) {
			out[what+" as "+text] = text
		}
	}
	return out
}

// order is a message as the echo service reads it, but for that its text is a secret.
func order(t *testing.T, text string) proto.Message {
	t.Helper()
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("order.proto"), Package: new("shop.v1"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: new("Order"),
			Field: []*descriptorpb.FieldDescriptorProto{
				{
					Name: new("card"), Number: proto.Int32(1), Options: &descriptorpb.FieldOptions{DebugRedact: new(true)},
					Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
				},
				{
					Name: new("id"), Number: proto.Int32(2),
					Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
				},
			},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := file.Messages().ByName("Order")
	m := dynamicpb.NewMessage(d)
	m.Set(d.Fields().ByName("card"), protoreflect.ValueOfString(text))
	m.Set(d.Fields().ByName("id"), protoreflect.ValueOfString("seen-order"))
	return m
}

// keysOf returns what is secret of the private keys in PEM, the number itself without
// what each key of its kind begins with, and what there is beside them.
func keysOf(t *testing.T, text []byte) (keys []string, others string) {
	t.Helper()
	block, rest := pem.Decode(text)
	for ; block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			others += string(pem.EncodeToMemory(block)) + string(block.Bytes)
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			if key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
				t.Fatal(err)
			}
		}
		ec, ok := key.(*ecdsa.PrivateKey)
		if !ok {
			t.Fatalf("a key is a %T", key)
		}
		number, err := ec.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(number))
	}
	return keys, others + string(rest)
}

// readAll adds the files of a folder to a haystack, and their keys to the secrets where
// they may hold their own.
func readAll(t *testing.T, h *haystack, secrets map[string]string, name, dir string, mayHoldKeys func(file string) bool) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, _ := filepath.Rel(dir, path)
		if file = filepath.ToSlash(file); !mayHoldKeys(file) {
			h.add(name+"/"+file, string(b))
			return nil
		}
		keys, others := keysOf(t, b)
		for i, key := range keys {
			secrets[fmt.Sprintf("key %d of %s/%s", i, name, file)] = key
		}
		h.add(name+"/"+file, others)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Secrets are in no file, log or answer in any encoding either, be they right or wrong:
// a secret with a typing error is nearly one. Processes join by tokens, over TCP.
func TestNoSecretIsKeptOrEncodedAnywhere(t *testing.T) {
	prometheus := freePort(t)
	s := startServer(t, "--tap", "payload", "--log", "debug", "--metrics-listen", prometheus)
	secrets := map[string]string{
		"the api key": "CANARY-APIKEY-41d7", "the proxy's password": "CANARY-PROXY-a3c9", "the binary token": "CANARY-BINARY-60fe",
		"the token of another name": "CANARY-OTHER-8b12", "the field that is debug_redact": "CANARY-CARD-c4e5",
		"the login that is none": "CANARY-LOGIN-2f6a", "the session that is none": "CANARY-SESSION-d90c", "the admin's password": "CANARY-ADMIN-17b8",
	}
	h := &haystack{of: map[string]string{}}
	answer := func(what string) func(m proto.Message, err error) {
		return func(m proto.Message, err error) {
			t.Helper()
			if err != nil {
				t.Errorf("%s: %v", what, err)
				return
			}
			b, err := protojson.Marshal(m)
			if err != nil {
				t.Error(err)
			}
			h.add(what, string(b))
		}
	}
	token := func(service string) string {
		t.Helper()
		created, err := s.api.CreateToken(t.Context(), &adminv1.CreateTokenRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := api.ParseJoinToken(created.GetText())
		if err != nil {
			t.Fatal(err)
		}
		secrets["the secret of "+service+"'s token, as bytes"] = string(parsed.Secret[:])
		secrets["the secret of "+service+"'s token"] = strings.Split(created.GetText(), ".")[2]
		return created.GetText()
	}
	states := map[string]string{"voting": t.TempDir(), "web": t.TempDir(), "late": t.TempDir(), "damaged": t.TempDir()}
	join := func(service, token string) *process {
		file := filepath.Join(t.TempDir(), "token")
		writeFile(t, file, []byte(token+"\n"))
		return start(t, "echo", nil, "TULLE_SERVICE="+service, "TULLE_TOKEN_FILE="+file, "TULLE_STATE_DIR="+states[service])
	}
	voting := join("voting", token("voting"))
	voting.line(t)
	s.awaitEndpoints(t, "voting", 1)
	// One with another secret, and one that is none.
	wrong, err := api.ParseJoinToken(token("late"))
	if err != nil {
		t.Fatal(err)
	}
	wrong.Secret[0] ^= 1
	secrets["the wrong secret"], secrets["the wrong secret, as bytes"] = strings.Split(wrong.Reveal(), ".")[2], string(wrong.Secret[:])
	late := join("late", wrong.Reveal())
	secrets["the damaged token"] = "CANARY-DAMAGED-5a03"
	damaged := join("damaged", "tulle1.x.CANARY-DAMAGED-5a03.y@"+s.mesh)

	var log lockedBuffer
	m, err := mesh.Join(t.Context(), mesh.Config{
		Service: "web", Token: token("web"), StateDir: states["web"],
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := m.NewClient("mesh:///voting")
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"web", "voting"} {
		eventually(t, 15*time.Second, service+" is told to log", func(ctx context.Context) bool {
			told, err := s.api.SetLog(ctx, &adminv1.SetLogRequest{Service: service, Level: "debug", Access: 1, Duration: durationpb.New(time.Minute)})
			return err == nil && told.GetProcesses() == 1
		})
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", secrets["the api key"], "proxy-authorization", secrets["the proxy's password"],
		"x-session-token-bin", secrets["the binary token"], "x-forwarded-as", "Bearer "+secrets["the token of another name"], "x-open", "seen")
	calls, stop := context.WithCancel(ctx)
	message := order(t, secrets["the field that is debug_redact"])
	var wait sync.WaitGroup
	wait.Go(func() {
		for calls.Err() == nil {
			_ = conn.Invoke(calls, whereMethod, message, new(wrapperspb.StringValue), grpc.WaitForReady(true))
			pass(t, 20*time.Millisecond)
		}
	})

	// voting is tapped without messages: it does not know that the text is a secret,
	// whose type has no such option there.
	tapped := 0
	for service, payload := range map[string]bool{"web": true, "voting": false} {
		within, done := context.WithTimeout(t.Context(), 5*time.Second)
		stream, err := s.api.Tap(within, &adminv1.TapRequest{Service: service, Payload: payload, MaxRps: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 20 && stream.Receive(); {
			if stream.Msg().GetEvent() != nil {
				n++
				tapped++
			}
			answer("the tap of "+service)(stream.Msg(), nil)
		}
		done()
		_ = stream.Close() // it was cut
	}
	if text := h.of["the tap of web"]; tapped < 20 || !containsAll(text, "seen-order", "x-open", "redacted") {
		t.Errorf("%d calls were tapped, of which web's do not show what is no secret: %.2000s", tapped, text)
	}

	// Wrong secrets at each door.
	for _, door := range []struct{ path, key, value string }{
		{"/login?token=" + secrets["the login that is none"], "", ""},
		{"/api/session", "Cookie", "tulle_session=" + secrets["the session that is none"]},
		{"/tulle.admin.v1.AdminService/GetStatus", "Authorization", "Bearer " + secrets["the admin's password"]},
		{"/debug/pprof/", "", ""},
		{"/debug/pprof/cmdline", "", ""},
		{"/debug/vars", "", ""},
	} {
		for _, address := range []string{s.admin, prometheus} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+door.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if door.key != "" {
				req.Header.Set(door.key, door.value)
			}
			got, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got.Body.Close()
			if got.StatusCode < 400 {
				t.Errorf("%s: %s, want a refusal: nobody has asked for what is there", door.path, got.Status)
			}
		}
	}
	answer("GetStatus")(s.api.GetStatus(t.Context(), &adminv1.GetStatusRequest{}))
	answer("GetGraph")(s.api.GetGraph(t.Context(), &adminv1.GetGraphRequest{}))
	answer("GetServiceStats")(s.api.GetServiceStats(t.Context(), &adminv1.GetServiceStatsRequest{Service: "voting"}))
	answer("GetAuthority")(s.api.GetAuthority(t.Context(), &adminv1.GetAuthorityRequest{}))
	answer("ListHistory")(s.api.ListHistory(t.Context(), &adminv1.ListHistoryRequest{}))
	answer("ListTokens")(s.api.ListTokens(t.Context(), &adminv1.ListTokensRequest{}))
	answer("ListIdentities")(s.api.ListIdentities(t.Context(), &adminv1.ListIdentitiesRequest{}))
	answer("ListCommands")(s.api.ListCommands(t.Context(), &adminv1.ListCommandsRequest{}))
	answer("List")(s.api.List(t.Context(), &adminv1.ListRequest{}))
	answer("ListRoutes")(s.api.ListRoutes(t.Context(), &adminv1.ListRoutesRequest{Service: "voting"}))
	// What was sent to whom, as xDS tells it.
	dumper, err := grpc.NewClient(s.mesh, grpc.WithTransportCredentials(s.credentials(t, "web")))
	if err != nil {
		t.Fatal(err)
	}
	defer dumper.Close()
	answer("CSDS")(statusv3.NewClientStatusDiscoveryServiceClient(dumper).FetchClientStatus(t.Context(), &statusv3.ClientStatusRequest{}))
	for _, command := range []string{"bootstrap", "version", "token list", "identity", "ca", "log", "history"} {
		_, out := s.run(t, append(strings.Fields(command), "-o", "json")...)
		h.add(command, out)
	}
	h.add("the metrics", page(t, prometheus))
	eventually(t, 15*time.Second, "who came with a wrong token is refused", func(context.Context) bool {
		return strings.Contains(late.stderr.String(), "token")
	})
	eventually(t, 15*time.Second, "a damaged token is refused", func(context.Context) bool {
		return strings.Contains(damaged.stderr.String(), "token")
	})

	stop()
	wait.Wait()
	conn.Close()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	voting.stop(t)
	s.process.stop(t)
	h.add("web's log", log.String())
	for name, p := range map[string]*process{"xdsserver": s.process, "voting": voting, "late": late, "damaged": damaged} {
		h.add(name+"'s log", p.stderr.String())
	}
	// The authority's folder is where its keys must be, and a process keeps its own to
	// start without xdsserver. Nothing else may hold a secret: tokens are kept as hashes.
	given := len(secrets)
	readAll(t, h, secrets, "DATA", s.data, func(file string) bool { return strings.HasPrefix(file, "ca/") })
	authority := len(secrets) - given
	for service, dir := range states {
		readAll(t, h, secrets, "STATE of "+service, dir, func(file string) bool { return file == service+".identity" })
	}
	if processes := len(secrets) - given - authority; authority < 2 || processes != 2 {
		t.Errorf("the authority keeps %d keys and processes %d, want a root's and an intermediate's, and those of voting and web", authority, processes)
	}
	if !strings.Contains(h.of["DATA/audit.log"], "tap.opened") || !strings.Contains(h.of["web's log"], "level=DEBUG") && !strings.Contains(h.of["web's log"], whereMethod) {
		t.Errorf("logs do not say what happened:\n%s\n%.2000s", h.of["DATA/audit.log"], h.of["web's log"])
	}
	all := disguised(secrets)
	for _, leak := range h.needles(all) {
		t.Errorf("found %q", leak)
	}
	t.Logf("%d secrets, %d texts, %d places", len(secrets), len(all), len(h.of))

	// Each would be found, whatever it is in.
	for what, secret := range secrets {
		for how, text := range map[string]string{
			"itself": secret, "hex": hex.EncodeToString([]byte("x" + secret + "yz")), "a query": url.QueryEscape("a=" + secret + "&b"),
			"base64": base64.StdEncoding.EncodeToString([]byte("x" + secret + "yz")), "base64 of a URL": base64.RawURLEncoding.EncodeToString([]byte("xy" + secret + "z")),
		} {
			planted := &haystack{of: map[string]string{"a place": "before " + text + " after"}}
			if len(planted.needles(disguised(map[string]string{what: secret}))) == 0 {
				t.Errorf("%s is not found as %s", what, how)
			}
		}
	}
}
