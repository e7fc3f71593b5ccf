// Package kubeletapi protects a node's HTTP API exactly as the Kubernetes
// kubelet protects its own.
//
// [Auth] is the filter. Three statements put it in front of any handler:
//
//	auth, err := kubeletapi.New(cfg)
//	if err != nil { ... }
//	err = (&kubeletapi.Server{Config: cfg, Auth: auth, Handler: mux}).ListenAndServe(ctx)
//
// [Server] brings the serving certificate, the request for client certificates,
// timeouts, and an orderly end. With another server, use [Auth.Handler] around
// the handler, and let its [crypto/tls.Config] ask for client certificates
// with [crypto/tls.RequestClientCert], if they are to count. [Auth.Check] is
// the decision alone.
//
// # What happens to a request
//
//  1. Its path must be canonical: one that is not clean is redirected, one that
//     two programs could read in two ways gets 400.
//  2. Who asks? The client certificate, if it is one of the client CA's; else
//     the bearer token in the Authorization header, then the one among the
//     WebSocket protocols, if the API server accepts it in a TokenReview; else,
//     if no credential was refused, system:anonymous. Nobody: 401.
//  3. What is asked for? The verb comes from the method and the subresource of
//     the node from the path, by the tables below.
//  4. May they? AlwaysAllow says yes; Webhook asks the API server with a
//     SubjectAccessReview. No: 403. No answer to be had: 500.
//
// Paths that nothing is served at are no exception: they ask for nodes/proxy.
//
// # The verb
//
//	POST       create
//	GET, HEAD  get
//	PUT        update
//	PATCH      patch
//	DELETE     delete
//	any other  none, which only a rule for verb * allows
//
// # The subresource
//
// The resource is always nodes, the name that of this node's Node object, the
// API group and the namespace empty. A row covers the path itself and what is
// below it, but not, say, /statsx.
//
//	/stats    nodes/stats
//	/metrics  nodes/metrics
//	/logs     nodes/log
//	/spec     nodes/spec
//	any other nodes/proxy
//
// With the feature gate KubeletFineGrainedAuthz the kubelet's own rows come
// before the last one. Of two subresources, the second is asked for if the
// first is not allowed:
//
//	/checkpoint                          nodes/checkpoint
//	/statusz                             nodes/statusz
//	/flagz                               nodes/configz
//	/configz                             nodes/configz, then nodes/proxy
//	/healthz                             nodes/healthz, then nodes/proxy
//	/pods, /runningpods, /allocatedPods  nodes/pods, then nodes/proxy
//
// # What is remembered
//
// An accepted token for 2 minutes and never beyond its exp; a verified
// certificate chain until its first certificate expires or the client CA
// changes; a decision for 5 minutes if it allows, else for 30 seconds; a
// refused token or chain for 10 seconds; a failed review not at all. What is used
// shortly before its end, and lets pass, is reviewed again meanwhile. Each is
// bounded in number. Equal questions that arrive together are asked once.
//
// # Security
//
// Whoever may get nodes/proxy may run commands in containers, on a kubelet: a
// WebSocket is opened with GET. Anyone with a certificate of the client CA for
// organization system:masters is an administrator here, so that CA should issue
// nothing else. There is no check for revoked certificates. With anonymous
// requests and AlwaysAllow, the defaults of the kubelet's flags, the filter
// lets everyone do everything, and [Server] says so in the log.
package kubeletapi
