// Command plain is the benchmark's service on grpc-go and nothing else.
//
//	plain [-identity DIR] [-timeout 5s]
package main

import (
	"flag"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tulle-mesh/tulle/bench/service"
)

func main() {
	identity := flag.String("identity", "", "`DIR` of svid.pem, key.pem and bundle.pem for mutual TLS; empty is no TLS")
	timeout := flag.Duration("timeout", 0, "deadline of each call; 0 is none")
	flag.Parse()
	client, server := insecure.NewCredentials(), insecure.NewCredentials()
	if *identity != "" {
		var err error
		if client, server, err = mutualTLS(*identity); err != nil {
			log.Fatal(err)
		}
	}
	config := "{}"
	if *timeout > 0 {
		config = fmt.Sprintf(`{"methodConfig":[{"name":[{}],"timeout":"%.3fs"}]}`, timeout.Seconds())
	}
	service.Main(service.Door{
		Serve: func(_ string, lis net.Listener, register func(grpc.ServiceRegistrar)) (stop func(), err error) {
			return serve(lis, server, register), nil
		},
		Dial: func(target string) (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(client), grpc.WithDefaultServiceConfig(config))
		},
	})
}

func serve(lis net.Listener, creds credentials.TransportCredentials, register func(grpc.ServiceRegistrar)) (stop func()) {
	s := grpc.NewServer(grpc.Creds(creds))
	register(s)
	return service.Background(func() error { return s.Serve(lis) }, s.Stop)
}
