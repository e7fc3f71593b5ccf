package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/testdata/bench/kubelet"
)

// decision is a row of the first table: the same question to both.
type decision struct {
	name          string
	kubelet, ours *subject
	goal          float64 // how many times less than the kubelet's ours should take; 0: no such goal
}

// ratio is how many times less than the kubelet's ours takes.
func (d decision) ratio() float64 { return medianRatio(d.kubelet.nanos, d.ours.nanos) }

const attributesRow = "attributes of a path" // as a function that an embedder may call

// measureDecisions measures decisions that are remembered.
func measureDecisions(rounds int, round time.Duration) []decision {
	w := newWorld(0)
	defer w.close()
	theirs, ours := w.kubelet(kubeletapi.ModeWebhook, 0), w.ours(w.config(kubeletapi.ModeWebhook))
	theirsOpen, oursOpen := w.kubelet(kubeletapi.ModeAlwaysAllow, 0), w.ours(w.config(kubeletapi.ModeAlwaysAllow))
	certificate := must(w.api.CA.Issue(apiservertest.Certificate{CommonName: "ann", Organizations: []string{"ops"}}))
	withToken := w.connected(ours, w.token(), nil)
	withCertificate := w.connected(ours, "", &certificate)
	anonymous := w.connected(ours, "", nil)
	nobody, theirNobody := &authn.UserInfo{}, &user.DefaultInfo{}
	plain := func(r *http.Request) *http.Request { return r.WithContext(context.Background()) }

	row := func(name string, goal float64, their, our func()) decision {
		return decision{name, newSubject(their, round), newSubject(our, round), goal}
	}
	rows := []decision{
		row("bearer token, known on this connection", 80, theirCheck(theirs, withToken), ourCheck(ours, withToken)),
		row("bearer token, no connection state", 8, theirCheck(theirs, withToken), ourCheck(ours, plain(withToken))),
		row("client certificate, ECDSA P-256, known on this connection", 1500, theirCheck(theirs, withCertificate), ourCheck(ours, withCertificate)),
		row("client certificate, no connection state", 150, theirCheck(theirs, withCertificate), ourCheck(ours, plain(withCertificate))),
		row("anonymous, Webhook", 80, theirCheck(theirs, anonymous), ourCheck(ours, anonymous)),
		row("anonymous, AlwaysAllow", 0, theirCheck(theirsOpen, anonymous), ourCheck(oursOpen, anonymous)),
		row(attributesRow, 0, func() {
			theirs.GetRequestAttributes(context.Background(), theirNobody, anonymous)
		}, func() {
			ours.Attributes(nobody, anonymous)
		}),
	}
	for range rounds {
		for _, d := range rows {
			d.kubelet.measure()
			d.ours.measure()
		}
	}
	return rows
}

// theirCheck decides on r with the kubelet's chain, and puts the token back that
// the chain removes, which costs a 400th of it.
func theirCheck(chain *kubelet.Chain, r *http.Request) func() {
	r = r.Clone(context.Background())
	authorization := r.Header["Authorization"]
	return func() {
		if authorization != nil {
			r.Header["Authorization"] = authorization
		}
		check(chain.Check(r))
	}
}

func ourCheck(auth *kubeletapi.Auth, r *http.Request) func() {
	decide := ourDecision(auth)
	return func() { check(decide(r)) }
}

// writeDecisions writes the table.
func writeDecisions(t *table, rows []decision) {
	t.head("decision, remembered", "kubelet", "ours", "kubelet / ours", "goal", "")
	for _, d := range rows {
		goal := "0 allocs"
		if d.goal > 0 {
			goal = fmt.Sprintf("0 allocs, at least %v times less", d.goal)
		}
		met := d.ours.allocs == 0 && d.ratio() >= d.goal
		t.row(d.name, d.kubelet.String(), d.ours.String(), fmt.Sprintf("%.0f", d.ratio()), goal, verdict(met))
	}
}

func (s *subject) String() string {
	return fmt.Sprintf("%s, %d allocs, %d B", nanos(median(s.nanos)), s.allocs, s.bytes)
}
