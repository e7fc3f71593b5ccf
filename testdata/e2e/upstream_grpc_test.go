package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"
)

// grpcService is the test service of gRPC. It answers with what it gets and tells what it saw in the trailer.
type grpcService struct {
	testpb.UnimplementedTestServiceServer
	seen  chan metadata.MD // of each call
	ended chan error       // why a call to StreamingInputCall ended
}

// saw remembers the metadata of a call.
func (s *grpcService) saw(ctx context.Context) metadata.MD {
	md, _ := metadata.FromIncomingContext(ctx)
	s.seen <- md
	return md
}

// UnaryCall echoes the payload, or ends with the status that is asked for.
func (s *grpcService) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	md := s.saw(ctx)
	grpc.SetHeader(ctx, metadata.Pairs("x-initial", "first"))
	grpc.SetTrailer(ctx, metadata.Pairs("x-trailing-bin", "\x00\xff", "x-echo", fmt.Sprint(md["x-mine"])))
	if wanted := r.GetResponseStatus(); wanted != nil {
		refused, err := status.New(codes.Code(wanted.Code), wanted.Message).WithDetails(r)
		if err != nil {
			return nil, err
		}
		return nil, refused.Err()
	}
	return &testpb.SimpleResponse{Payload: r.Payload}, nil
}

// FullDuplexCall echoes each payload when it comes, and ends with a status after the last.
func (s *grpcService) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	s.saw(stream.Context())
	count := 0
	for {
		in, err := stream.Recv()
		if err == io.EOF {
			stream.SetTrailer(metadata.Pairs("x-count", strconv.Itoa(count)))
			return status.Error(codes.DataLoss, "the end: ü, 100%")
		}
		if err != nil {
			return err
		}
		count++
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

// StreamingInputCall reads until the client gives up.
func (s *grpcService) StreamingInputCall(stream grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	s.saw(stream.Context())
	for {
		if _, err := stream.Recv(); err != nil {
			<-stream.Context().Done()
			s.ended <- stream.Context().Err()
			return err
		}
	}
}

// startGRPC serves the test service and a health service without encryption for the length of the test.
func startGRPC(t *testing.T, network, address string) (*grpcService, net.Addr) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	service := &grpcService{seen: make(chan metadata.MD, 100), ended: make(chan error, 1)}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(32 << 20))
	testpb.RegisterTestServiceServer(server, service)
	checker := health.NewServer()
	checker.SetServingStatus("down", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(server, checker)
	ended := make(chan error)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return service, listener.Addr()
}

// grpcToken is a bearer token as a credential of each call.
type grpcToken string

func (token grpcToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if token == "" {
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (grpcToken) RequireTransportSecurity() bool { return true }

// dialGRPC connects to our server.
func dialGRPC(t *testing.T, s *upstreamServer, token string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(s.Address, strconv.Itoa(s.Port)), grpc.WithNoProxy(),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: s.cluster.CA.Pool()})),
		grpc.WithPerRPCCredentials(grpcToken(token)), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(32<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestUpstreamGRPC shows gRPC behind our server, by HTTP/2 without encryption: each service has a role of its own, since
// its calls ask for the path of the method.
func TestUpstreamGRPC(t *testing.T) {
	dir, err := os.MkdirTemp("", "kubeletauth-grpc-") // short, for the socket's sake
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(dir, "s")} {
		t.Run(network, func(t *testing.T) {
			service, at := startGRPC(t, network, address)
			url := map[string]string{"tcp": "http://", "unix": "unix://"}[network] + at.String()
			s := startUpstream(t, theCluster(t), url, upstreamURLs("create", "/grpc.health.v1.Health/Check", "/grpc.testing.TestService/*"),
				"--upstream-protocol=h2c", "--upstream-identity-headers", "--request-attributes=nonresource")
			conn := dialGRPC(t, s, s.token)
			t.Run("health", func(t *testing.T) { grpcHealth(t, conn) })
			t.Run("unary", func(t *testing.T) { grpcUnary(t, s, service, testpb.NewTestServiceClient(conn)) })
			t.Run("bidi stream", func(t *testing.T) { grpcBidi(t, s, service, testpb.NewTestServiceClient(conn)) })
			t.Run("the client gives up", func(t *testing.T) { grpcCancel(t, service, testpb.NewTestServiceClient(conn)) })
			t.Run("refused", func(t *testing.T) { grpcRefused(t, s, service, conn) })
		})
	}
}

// grpcContext is for one call.
func grpcContext(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-mine", "1", "x-mine", "2",
		"x-remote-user", "admin", "x_remote_user", "admin", "x-remote-group", "system:masters", "impersonate-user", "admin", "x-forwarded-for", "192.0.2.1"), 20*time.Second)
}

// grpcHealth asks for the health of services.
func grpcHealth(t *testing.T, conn *grpc.ClientConn) {
	ctx, cancel := grpcContext(t)
	defer cancel()
	client := healthpb.NewHealthClient(conn)
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{"": healthpb.HealthCheckResponse_SERVING, "down": healthpb.HealthCheckResponse_NOT_SERVING} {
		if answer, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: service}); err != nil || answer.Status != want {
			t.Fatalf("%q is %v, %v", service, answer, err)
		}
	}
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("a service that there is not: %v", err)
	}
}

// grpcUnary sends payloads small and large, and has an error with details returned.
func grpcUnary(t *testing.T, s *upstreamServer, service *grpcService, client testpb.TestServiceClient) {
	ctx, cancel := grpcContext(t)
	defer cancel()
	for _, size := range []int{0, 1, 16 << 10, 5 << 20} {
		var header, trailer metadata.MD
		request := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: slices.Repeat([]byte{7}, size)}}
		answer, err := client.UnaryCall(ctx, request, grpc.Header(&header), grpc.Trailer(&trailer))
		if err != nil || !slices.Equal(answer.GetPayload().GetBody(), request.Payload.Body) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		grpcExpectMetadata(t, header, "x-initial", "first")
		grpcExpectMetadata(t, trailer, "x-trailing-bin", "\x00\xff")
		grpcExpectMetadata(t, trailer, "x-echo", "[1 2]")
		grpcExpectNoCredential(t, s, upstreamTake(t, service.seen))
	}
	var trailer metadata.MD
	request := &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: int32(codes.FailedPrecondition), Message: "not like this: ü\n%"}}
	_, err := client.UnaryCall(ctx, request, grpc.Trailer(&trailer))
	got := status.Convert(err)
	if got.Code() != codes.FailedPrecondition || got.Message() != request.ResponseStatus.Message {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff([]any{request}, got.Details(), protocmp.Transform()); diff != "" {
		t.Errorf("the details: %s", diff)
	}
	grpcExpectMetadata(t, trailer, "x-echo", "[1 2]")
	grpcExpectNoCredential(t, s, upstreamTake(t, service.seen))
}

// grpcBidi waits for the answer to each message before it sends the next one: nothing is held back.
func grpcBidi(t *testing.T, s *upstreamServer, service *grpcService, client testpb.TestServiceClient) {
	ctx, cancel := grpcContext(t)
	defer cancel()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 50
	for i := range rounds {
		body := slices.Repeat([]byte{byte(i)}, i*1000)
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: body}}); err != nil {
			t.Fatal(err)
		}
		if answer, err := stream.Recv(); err != nil || !slices.Equal(answer.GetPayload().GetBody(), body) {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	if got := status.Convert(err); got.Code() != codes.DataLoss || got.Message() != "the end: ü, 100%" {
		t.Errorf("the stream ends with %v", err)
	}
	grpcExpectMetadata(t, stream.Trailer(), "x-count", strconv.Itoa(rounds))
	grpcExpectNoCredential(t, s, upstreamTake(t, service.seen))
}

// grpcCancel shows that a call ends at the upstream when the client gives it up.
func grpcCancel(t *testing.T, service *grpcService, client testpb.TestServiceClient) {
	ctx, cancel := grpcContext(t)
	defer cancel()
	stream, err := client.StreamingInputCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&testpb.StreamingInputCallRequest{}); err != nil {
		t.Fatal(err)
	}
	upstreamTake(t, service.seen)
	cancel()
	if err := upstreamTake(t, service.ended); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// grpcRefused shows that a client of gRPC understands what the filter says, and that the upstream does not hear of it.
func grpcRefused(t *testing.T, s *upstreamServer, service *grpcService, conn *grpc.ClientConn) {
	ctx, cancel := grpcContext(t)
	defer cancel()
	if _, err := healthpb.NewHealthClient(conn).List(ctx, &healthpb.HealthListRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a method that is not in the role: %v", err)
	}
	stranger := s.cluster.RequestToken(t, s.cluster.CreateServiceAccount(t, "upstream-out"), 0)
	for token, want := range map[string]codes.Code{"": codes.Unauthenticated, "rubbish": codes.Unauthenticated, stranger: codes.PermissionDenied} {
		client := testpb.NewTestServiceClient(dialGRPC(t, s, token))
		if _, err := client.UnaryCall(ctx, &testpb.SimpleRequest{}); status.Code(err) != want {
			t.Errorf("%.8s: %v, want %v", token, err, want)
		}
	}
	if len(service.seen) > 0 {
		t.Errorf("the upstream saw %v", upstreamTake(t, service.seen))
	}
}

// grpcExpectMetadata wants one value.
func grpcExpectMetadata(t *testing.T, md metadata.MD, key, value string) {
	t.Helper()
	if got := md.Get(key); !slices.Equal(got, []string{value}) {
		t.Errorf("%s is %q, want %q", key, got, value)
	}
}

// grpcExpectNoCredential wants that the upstream sees who asks, and nothing by which to ask.
func grpcExpectNoCredential(t *testing.T, s *upstreamServer, seen metadata.MD) {
	t.Helper()
	if upstreamHasToken(fmt.Sprint(seen), s.token) {
		t.Error("the upstream sees the token")
	}
	for _, name := range []string{"authorization", "x_remote_user", "impersonate-user", "x-forwarded-for"} {
		if seen[name] != nil {
			t.Errorf("the upstream sees %s: %q", name, seen[name])
		}
	}
	grpcExpectMetadata(t, seen, "x-remote-user", s.account.Username())
	if slices.Contains(seen["x-remote-group"], "system:masters") || len(seen["x-remote-group"]) != 3 {
		t.Errorf("the groups are %q", seen["x-remote-group"])
	}
}
