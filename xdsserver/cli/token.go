package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newToken() *cobra.Command {
	return family(&cobra.Command{
		Use:   "token",
		Short: "Let processes on other machines join",
		Long: `A process on this machine joins over the unix socket and needs nothing. One
elsewhere joins with a token: one line that holds the address of the mesh port, a
secret that works a few times and for a short while, and the fingerprint of the
mesh's root, so that neither side can be taken in by somebody in between.`,
	}, newTokenCreate(), newTokenList(), newTokenRevoke())
}

func newTokenCreate() *cobra.Command {
	var cidrs []string
	var ttl time.Duration
	var uses int32
	request := &adminv1.CreateTokenRequest{}
	cmd := &cobra.Command{
		Use:   "create --service NAME",
		Short: "Print one line with which a process elsewhere joins as a service",
		Long: `create prints a join token, one line, and on standard error how to use it. The
line is a secret: whoever has it can be the service until the token is used up or
expires. The server keeps only its hash, so that it is shown only now.

A process needs it once: it renews its certificate by itself, and after a restart
goes on with the certificate in its state directory.`,
		Example: `  xdsserver token create --service payments
  xdsserver token create --service payments.shop --ttl 10m --uses 3 --cidr 10.0.0.0/8
  xdsserver token create --service payments | ssh host 'umask 077; cat > /etc/payments.token'`,
		Args: noArguments,
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	flags := cmd.Flags()
	flags.StringVar(&request.Service, "service", "", "the service that it makes a process of, `NAME` or NAME.NAMESPACE (required)")
	flags.DurationVar(&ttl, "ttl", time.Hour, "how long it may be used, a `DURATION`")
	flags.Int32Var(&uses, "uses", 1, "how many processes may join by it, a `NUMBER`; more than one wants --cidr")
	flags.StringSliceVar(&cidrs, "cidr", nil, "network that it may be used from, a `CIDR`; may be repeated; any when left out")
	flags.StringVar(&request.Address, "address", "", "`HOST:PORT` by which the process reaches the mesh port (default: where the server listens)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case request.GetService() == "":
			return errors.New("--service names no service: say whose identity the process gets")
		case ttl <= 0:
			return fmt.Errorf("--ttl %v: want more than nothing, for example 1h", ttl)
		case uses < 1:
			return fmt.Errorf("--uses %d: want at least 1", uses)
		}
		for _, c := range cidrs {
			if _, err := netip.ParsePrefix(c); err != nil {
				return fmt.Errorf("--cidr %q is no network, want for example 10.0.0.0/8", c)
			}
		}
		request.Ttl, request.Uses, request.Cidrs = durationpb.New(ttl), uses, cidrs
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.CreateToken(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), struct {
				tokenJSON

				Text string `json:"text"`
			}{tokenResult(answer.GetToken()), answer.GetText()})
		}
		fmt.Fprintln(cmd.OutOrStdout(), answer.GetText())
		t := answer.GetToken()
		fmt.Fprintf(cmd.ErrOrStderr(), "\nKeep the line in a file that only the service can read, and start the service with\n"+
			"    TULLE_SERVICE=%s TULLE_TOKEN_FILE=FILE\n"+
			"It joins %s within %s%s. 'xdsserver token revoke %s' takes it back.\n",
			t.GetService(), processes(t.GetUses()), left(t.GetExpires()), fromNetworks(t.GetCidrs()), t.GetId())
		return nil
	}
	return cmd
}

func processes(uses int32) string {
	if uses == 1 {
		return "one process"
	}
	return fmt.Sprintf("%d processes", uses)
}

func fromNetworks(cidrs []string) string {
	if len(cidrs) == 0 {
		return ""
	}
	return ", from " + strings.Join(cidrs, " or ")
}

func newTokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Show tokens, without their secrets, and those of the last day that are of no use any more",
		Example: "  xdsserver token list\n  xdsserver token list -o json",
		Args:    noArguments,
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.ListTokens(cmd.Context(), &adminv1.ListTokensRequest{})
		if err != nil {
			return to.explain(err)
		}
		if out.json() {
			result := tokensJSON{Tokens: []tokenJSON{}}
			for _, t := range answer.GetTokens() {
				result.Tokens = append(result.Tokens, tokenResult(t))
			}
			return writeJSON(cmd.OutOrStdout(), result)
		}
		if len(answer.GetTokens()) == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "No tokens: 'xdsserver token create --service NAME' makes one.")
			return nil
		}
		t := newTable(cmd.OutOrStdout(), "ID", "SERVICE", "STATE", "USED", "FROM", "AGE", "LEFT")
		for _, token := range answer.GetTokens() {
			rest := ""
			if token.GetState() == usable {
				rest = left(token.GetExpires())
			}
			t.row(token.GetId(), token.GetService(), token.GetState(), fmt.Sprintf("%d of %d", token.GetUsed(), token.GetUses()),
				strings.Join(token.GetCidrs(), ","), age(token.GetCreated()), rest)
		}
		return t.flush()
	}
	return cmd
}

func newTokenRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "Take a token back",
		Long: `revoke makes a token useless. Processes that joined by it stay: their certificates
are their own by now.`,
		Example: "  xdsserver token revoke c2FtcGxlaWQ",
		Args:    arguments(1, 1, "the id of a token, as 'xdsserver token list' shows it"),
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		if _, err := client.RevokeToken(cmd.Context(), &adminv1.RevokeTokenRequest{Id: args[0]}); err != nil {
			return to.explain(err)
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), struct {
				ID string `json:"revoked"`
			}{args[0]})
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Token %s revoked\n", args[0])
		return nil
	}
	return cmd
}

// usable is the state of a token that may be used.
const usable = "usable"

type tokensJSON struct {
	Tokens []tokenJSON `json:"tokens"`
}

type tokenJSON struct {
	ID      string     `json:"id"`
	Service string     `json:"service"`
	Created *time.Time `json:"created,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	Uses    int32      `json:"uses"`
	Used    int32      `json:"used"`
	CIDRs   []string   `json:"cidrs"`
	State   string     `json:"state"`
	// Redemptions say when and from where it was used.
	Redemptions []redemptionJSON `json:"redemptions"`
}

type redemptionJSON struct {
	At   *time.Time `json:"at,omitempty"`
	Peer string     `json:"peer"`
}

func tokenResult(t *adminv1.Token) tokenJSON {
	out := tokenJSON{
		ID:          t.GetId(),
		Service:     t.GetService(),
		Created:     stamp(t.GetCreated()),
		Expires:     stamp(t.GetExpires()),
		Uses:        t.GetUses(),
		Used:        t.GetUsed(),
		CIDRs:       orEmpty(t.GetCidrs()),
		State:       t.GetState(),
		Redemptions: []redemptionJSON{},
	}
	for _, r := range t.GetRedemptions() {
		out.Redemptions = append(out.Redemptions, redemptionJSON{At: stamp(r.GetAt()), Peer: r.GetPeer()})
	}
	return out
}
