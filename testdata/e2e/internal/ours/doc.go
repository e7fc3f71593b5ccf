// Package ours runs this project's server, cmd/server, as a process beside a test, as package harness runs Kubernetes':
//
//	server := ours.Start(t, cluster, ours.Options{Address: address}, ours.Protected(t, cluster, "node-1")...)
//	harness.Get(t, client, server.URL+"/healthz", token)
package ours
