package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// load is clients of one server, each with a connection of its own that it keeps.
type load struct {
	url, token string
	protocol   int
	clients    []*http.Client
}

// newLoad opens the connections and sends one request on each.
func newLoad(p *process, path string, protocol int, token string, certificate *tls.Certificate, connections int) *load {
	l := &load{url: "https://" + p.address + path, token: token, protocol: protocol}
	config := &tls.Config{InsecureSkipVerify: true} // of a server that this program started
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	for range connections {
		var protocols http.Protocols
		protocols.SetHTTP1(protocol == 1)
		protocols.SetHTTP2(protocol == 2)
		l.clients = append(l.clients, &http.Client{Transport: &http.Transport{
			TLSClientConfig: config.Clone(), Protocols: &protocols, MaxConnsPerHost: 1, DisableCompression: true,
		}})
	}
	l.send(connections)
	return l
}

func (l *load) close() {
	for _, c := range l.clients {
		c.CloseIdleConnections()
	}
}

// send sends n requests, each connection as many, one after the other.
func (l *load) send(n int) {
	var all sync.WaitGroup
	for _, c := range l.clients {
		all.Go(func() {
			for range n / len(l.clients) {
				l.get(c)
			}
		})
	}
	all.Wait()
}

func (l *load) get(c *http.Client) {
	r := must(http.NewRequest("GET", l.url, nil))
	if l.token != "" {
		r.Header.Set("Authorization", "Bearer "+l.token)
	}
	answer := must(c.Do(r))
	body := must(io.ReadAll(answer.Body))
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || string(body) != "ok" || answer.ProtoMajor != l.protocol {
		panic(fmt.Sprintf("%s answers with %s %s: %q", l.url, answer.Proto, answer.Status, body))
	}
}
