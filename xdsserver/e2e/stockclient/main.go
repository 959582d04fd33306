// Command stockclient is a gRPC client as anybody could write it: it imports
// grpc-go and its xDS support, and nothing of this project. It calls a target
// some times and prints how often each answer came.
//
//	GRPC_XDS_BOOTSTRAP=bootstrap.json stockclient xds:///voting /pkg.Service/Method 100 [header value]
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "google.golang.org/grpc/xds" // the xds scheme
)

func main() {
	target, method := os.Args[1], os.Args[2]
	n, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	creds, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		log.Fatal(err)
	}
	answers := map[string]int{}
	for range n {
		answers[call(conn, method, os.Args[4:])]++
	}
	if err := conn.Close(); err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}

// call returns the answer, or the status code's name.
func call(conn *grpc.ClientConn, method string, headers []string) string {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), headers...), 20*time.Second)
	defer cancel()
	var answer wrapperspb.StringValue
	if err := conn.Invoke(ctx, method, wrapperspb.String(""), &answer, grpc.WaitForReady(true)); err != nil {
		return status.Code(err).String()
	}
	return answer.GetValue()
}
