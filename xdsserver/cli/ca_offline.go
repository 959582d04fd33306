package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tulle-mesh/tulle/xdsserver/daemon"
)

func newCAExportRoot() *cobra.Command {
	var e daemon.Export
	cmd := &cobra.Command{
		Use:   "export-root --data DIR --out FILE",
		Short: "Write the root's key to a file that is to be kept elsewhere",
		Long: `export-root writes the root's certificate and private key to a file. With --remove
it then takes the key out of the data directory, so that whoever takes over the
server cannot make a root's certificates.

The server needs the root's key only to make the next intermediate: within half of
an intermediate's life, 15 days, it must come back by 'xdsserver ca import', or an
intermediate that it signed elsewhere must. 'xdsserver check' warns in time. The
server may run meanwhile.`,
		Example: `  xdsserver ca export-root --data /var/lib/tulle --out /media/safe/root.pem --remove
  xdsserver ca export-root --data ./data --out root.pem --out-passphrase-file pass.txt`,
		Args: noArguments,
	}
	out := addOutput(cmd)
	flags := cmd.Flags()
	flags.StringVar(&e.Data, "data", "", "data `DIR` of the server (required)")
	flags.StringVar(&e.Out, "out", "", "`FILE` to write; it must not exist (required)")
	flags.StringVar(&e.PassphraseFile, "ca-passphrase-file", "", "`FILE` with the passphrase of the keys in the data directory, if they have one")
	flags.StringVar(&e.OutPassphraseFile, "out-passphrase-file", "", "`FILE` with a passphrase to encrypt the written key with")
	flags.BoolVar(&e.Remove, "remove", false, "take the key out of the data directory once it is safely written")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case e.Data == "":
			return errors.New("--data names no directory: say which server's root is meant")
		case e.Out == "":
			return errors.New("--out names no file: say where to write the root's key")
		}
		if err := daemon.ExportRoot(e); err != nil {
			return wrong(err)
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), struct {
				File    string `json:"file"`
				Removed bool   `json:"removed"`
			}{e.Out, e.Remove})
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Root written to %s\n", e.Out)
		if e.Remove {
			fmt.Fprintf(cmd.ErrOrStderr(), "The key is no longer in %s: %s is the only copy. "+
				"'xdsserver ca status' says when it is needed.\n", e.Data, e.Out)
		}
		return nil
	}
	return cmd
}

func newCAImport() *cobra.Command {
	var i daemon.Import
	cmd := &cobra.Command{
		Use:   "import --data DIR --key FILE [--cert FILE]",
		Short: "Put the root's key back, or add an intermediate that it signed elsewhere",
		Long: `import puts back the key that 'ca export-root --remove' took away, or adds an
intermediate that the root signed on another machine: its certificate and its key.
The server may run meanwhile, and notices within 10 seconds.`,
		Example: `  xdsserver ca import --data /var/lib/tulle --key /media/safe/root.pem
  xdsserver ca import --data /var/lib/tulle --cert intermediate.crt --key intermediate.key`,
		Args: noArguments,
	}
	out := addOutput(cmd)
	flags := cmd.Flags()
	flags.StringVar(&i.Data, "data", "", "data `DIR` of the server (required)")
	flags.StringVar(&i.Key, "key", "", "PEM `FILE` with the private key, and the certificate if --cert is left out (required)")
	flags.StringVar(&i.Certificate, "cert", "", "PEM `FILE` with the certificate")
	flags.StringVar(&i.PassphraseFile, "ca-passphrase-file", "", "`FILE` with the passphrase of the keys in the data directory, if they have one")
	flags.StringVar(&i.KeyPassphraseFile, "key-passphrase-file", "", "`FILE` with the passphrase that --key is encrypted with")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case i.Data == "":
			return errors.New("--data names no directory: say which server it is for")
		case i.Key == "":
			return errors.New("--key names no file: say which key to import")
		}
		imported, err := daemon.ImportCA(i)
		if err != nil {
			return wrong(err)
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), struct {
				Imported string `json:"imported"`
			}{imported})
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Imported %s\n", imported)
		return nil
	}
	return cmd
}
