// A server of Envoy's external authorization that does nothing: it answers OK to every caller. It shows what gRPC in Go
// costs by itself, which is what a check service is measured against.
package main

import (
	"context"
	"flag"
	"log"
	"net"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
)

type noop struct {
	auth.UnimplementedAuthorizationServer
	answer *auth.CheckResponse
}

func (n *noop) Check(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) {
	return n.answer, nil
}

func main() {
	address := flag.String("listen", "127.0.0.1:9191", "host:port")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	auth.RegisterAuthorizationServer(server, &noop{answer: &auth.CheckResponse{
		Status: &status.Status{},
		HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{
			Headers: []*core.HeaderValueOption{
				header("x-user-id", "1000"),
				header("x-user-name", "nobody"),
				header("x-client-id", "nobody"),
				header("x-token-scope", "none"),
			},
			HeadersToRemove: []string{"authorization"},
		}},
	}})
	log.Fatal(server.Serve(listener))
}

func header(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: name, Value: value},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
