// Command plain is the benchmark's service on grpc-go and nothing else.
//
//	plain [-identity DIR] [-timeout 5s] [-tuned]
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"runtime"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tulle-mesh/tulle/bench/service"
)

func main() {
	identity := flag.String("identity", "", "`DIR` of svid.pem, key.pem and bundle.pem for mutual TLS; empty is no TLS")
	timeout := flag.Duration("timeout", 0, "deadline of each call; 0 is none")
	tuned := flag.Bool("tuned", false, "carry calls as the mesh does: fixed windows, smaller buffers, and goroutines that wait for calls")
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
	serverOptions := []grpc.ServerOption{grpc.Creds(server)}
	dialOptions := []grpc.DialOption{grpc.WithTransportCredentials(client), grpc.WithDefaultServiceConfig(config)}
	if *tuned {
		serverOptions = append(serverOptions, grpc.StaticStreamWindowSize(1<<20), grpc.StaticConnWindowSize(16<<20),
			grpc.ReadBufferSize(16<<10), grpc.NumStreamWorkers(uint32(16*runtime.GOMAXPROCS(0))))
		dialOptions = append(dialOptions, grpc.WithStaticStreamWindowSize(1<<20), grpc.WithStaticConnWindowSize(16<<20),
			grpc.WithReadBufferSize(16<<10))
	}
	service.Main(service.Door{
		Serve: func(_ string, lis net.Listener, register func(grpc.ServiceRegistrar)) (stop func(), err error) {
			s := grpc.NewServer(serverOptions...)
			register(s)
			return service.Background(func() error { return s.Serve(lis) }, s.Stop), nil
		},
		Dial: func(target string) (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:///"+target, dialOptions...)
		},
	})
}
