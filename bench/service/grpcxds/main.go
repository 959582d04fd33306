// Command grpcxds is the benchmark's service on grpc-go's own xDS client and server, which
// read GRPC_XDS_BOOTSTRAP.
//
//	GRPC_XDS_BOOTSTRAP=bootstrap.json grpcxds [-metrics]
package main

import (
	"flag"
	"log"
	"net"

	"go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/stats/opentelemetry"
	"google.golang.org/grpc/xds"

	"github.com/tulle-mesh/tulle/bench/service"
)

func main() {
	metrics := flag.Bool("metrics", false, "count calls by stats/opentelemetry, with its default metrics and a reader that is never read")
	flag.Parse()
	client, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		log.Fatal(err)
	}
	server, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		log.Fatal(err)
	}
	dial := []grpc.DialOption{grpc.WithTransportCredentials(client)}
	serve := []grpc.ServerOption{grpc.Creds(server)}
	if *metrics {
		provider := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
		o := opentelemetry.Options{MetricsOptions: opentelemetry.MetricsOptions{MeterProvider: provider}}
		dial = append(dial, opentelemetry.DialOption(o))
		serve = append(serve, opentelemetry.ServerOption(o))
	}
	service.Main(service.Door{
		Serve: func(_ string, lis net.Listener, register func(grpc.ServiceRegistrar)) (stop func(), err error) {
			return start(lis, register, serve)
		},
		Dial: func(target string) (*grpc.ClientConn, error) { return grpc.NewClient(target, dial...) },
	})
}

func start(lis net.Listener, register func(grpc.ServiceRegistrar), opts []grpc.ServerOption) (stop func(), err error) {
	serving := make(chan struct{}, 1)
	s, err := xds.NewGRPCServer(append(opts, xds.ServingModeCallback(func(_ net.Addr, args xds.ServingModeChangeArgs) {
		if args.Mode != connectivity.ServingModeServing {
			log.Print("not serving: ", args.Err)
			return
		}
		select {
		case serving <- struct{}{}:
		default:
		}
	}))...)
	if err != nil {
		return nil, err
	}
	register(s)
	stop = service.Background(func() error { return s.Serve(lis) }, s.Stop)
	<-serving
	return stop, nil
}
