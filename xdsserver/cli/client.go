package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
	"github.com/tulle-mesh/tulle/xdsserver/daemon"
)

const (
	// defaultAdmin is where a server on this machine listens unless told otherwise,
	// beside the socket of defaultAdminURL.
	defaultAdmin = "http://127.0.0.1:18080"
	// answerWithin bounds a command's call to the server.
	answerWithin = 30 * time.Second
)

// admin is the --admin flag.
type admin struct{ url string }

func addAdmin(cmd *cobra.Command) *admin {
	a := &admin{}
	url := os.Getenv("TULLE_ADMIN")
	if url == "" {
		url = defaultAdminURL()
	}
	cmd.Flags().StringVar(&a.url, "admin", url, "`URL` of the server's admin API, http:// or unix:// (environment: TULLE_ADMIN)")
	return a
}

// defaultAdminURL is how a server of this user on this machine is asked. Linux says
// whose a TCP connection is; elsewhere changes are taken over the socket only.
func defaultAdminURL() string {
	if runtime.GOOS == "linux" {
		return defaultAdmin
	}
	path := filepath.Join(filepath.Dir(api.DefaultSocket()), daemon.AdminSocket)
	if _, err := os.Stat(path); err != nil {
		return defaultAdmin
	}
	return "unix://" + path
}

func (a *admin) client() (adminv1connect.AdminServiceClient, error) {
	if path, ok := strings.CutPrefix(a.url, "unix://"); ok && path != "" {
		return adminv1connect.NewAdminServiceClient(overSocket(path), "http://localhost"), nil
	}
	u, err := url.Parse(a.url)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("--admin %q is no URL, want for example %s", a.url, defaultAdmin)
	}
	return adminv1connect.NewAdminServiceClient(&http.Client{Timeout: answerWithin}, strings.TrimSuffix(a.url, "/")), nil
}

// overSocket asks over a unix socket, which the server has beside that of the mesh.
func overSocket(path string) *http.Client {
	return &http.Client{
		Timeout: answerWithin,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}},
	}
}

// explain turns an error of the admin API into a sentence with what to do.
func (a *admin) explain(err error) error {
	if err == nil {
		return nil
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return wrong(fmt.Errorf("no xdsserver answers at %s (%w); start one with 'xdsserver serve', "+
			"or name another with --admin or TULLE_ADMIN", a.url, op.Err))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return wrong(fmt.Errorf("xdsserver at %s did not answer within %v", a.url, answerWithin))
	}
	cause := err.Error()
	if answer, ok := errors.AsType[*connect.Error](err); ok {
		cause = answer.Message()
	}
	if !connect.IsWireError(err) { // no answer of the API
		cause = fmt.Sprintf("%s does not answer as the admin API of an xdsserver (%s); name that with --admin or TULLE_ADMIN", a.url, cause)
	}
	return wrong(errors.New(cause))
}
