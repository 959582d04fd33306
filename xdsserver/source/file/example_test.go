package file_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tulle-mesh/tulle/xdsserver/source"
	"github.com/tulle-mesh/tulle/xdsserver/source/file"
)

func ExampleNew() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	text := "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\n"
	if err := os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	s, err := file.New(file.Config{Path: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = s.Run(ctx, func(out source.Output) {
		fmt.Println(out.Objects[0].Ref())
		cancel()
	})
	fmt.Println(err)
	// Output:
	// Service voting
	// <nil>
}
