package main

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
)

// log is a table in the log of the test.
func log(t *testing.T) *table {
	text := new(strings.Builder)
	t.Cleanup(func() { t.Log(text) })
	return &table{text}
}

// A remembered decision allocates nothing of ours. What it takes is only logged,
// here and below: a busy machine would decide the test.
func TestDecisions(t *testing.T) {
	rows := measureDecisions(quick.rounds, quick.round)
	writeDecisions(log(t), rows)
	for _, d := range rows {
		if d.ours.allocs != 0 && d.name != attributesRow {
			t.Errorf("%s: %d allocations", d.name, d.ours.allocs)
		}
		if d.kubelet.allocs == 0 {
			t.Errorf("%s: the kubelet's chain seems not to have run", d.name)
		}
		known(t, d.name, d.ratio())
	}
}

// However many come at once, each question is asked once.
func TestCrowd(t *testing.T) {
	theirs, ours := measureCrowd(quick.rounds)
	writeCrowd(log(t), theirs, ours)
	if ours.tokenReviews != 1 || ours.accessReviews != 1 {
		t.Errorf("%d reviews of a token and %d of access", ours.tokenReviews, ours.accessReviews)
	}
	if theirs.tokenReviews == 0 || theirs.accessReviews == 0 {
		t.Error("the kubelet's chain seems not to have run")
	}
}

func TestExpiry(t *testing.T) {
	theirs, ours := measureExpiry(quick.expiries)
	writeExpiry(log(t), quick.expiries, theirs, ours)
	if ours.tokenReviews == 0 || ours.accessReviews == 0 {
		t.Error("nothing expired")
	}
}

func TestMemory(t *testing.T) {
	theirs, ours := measureMemory(quick.tokens)
	writeMemory(log(t), quick.tokens, theirs, ours)
	known(t, "the kubelet's memory for a token", theirs.each)
	known(t, "our memory for a token", ours.each)
}

func TestContention(t *testing.T) {
	rows := measureContention(quick.rounds, quick.round)
	writeContention(log(t), rows)
	for _, c := range rows {
		known(t, "throughput", c.ours)
		known(t, "throughput of the kubelet's chain", c.kubelet)
	}
}

// Whole processes: their answers are held to be what they should, and there are
// figures of each.
func TestServers(t *testing.T) {
	w := newWorld(0)
	defer w.close()
	s := newServers(w)
	costs := s.measureServers(quick.serverRounds, quick.requests)
	if s.knows("upstream") {
		costs = append(costs, s.measureProxies(quick.serverRounds, quick.requests)...)
	}
	writeRequests(log(t), costs)
	for _, c := range costs {
		for server := range c.byServer {
			known(t, c.name+": "+server, c.ratio(server))
		}
	}
	bare, theirs, ours := s.measureFootprints(quick.rounds, quick.loaded)
	writeFootprints(log(t), quick.loaded, bare, theirs, ours)
	if ours.modules != 0 || theirs.modules == 0 {
		t.Errorf("our program has %d modules in it, the kubelet's %d", ours.modules, theirs.modules)
	}
	checkProfile(t, "a new profile", s.profile(time.Second))
	checkProfile(t, profileFile, must(profile.Parse(must(os.Open(profileFile)))))
}

func checkProfile(t *testing.T, name string, p *profile.Profile) {
	paths, filter := len(p.Mapping), 0
	for _, f := range p.Function {
		if f.Filename != "" {
			paths++
		}
		if strings.HasPrefix(f.Name, "kubeletauth/kubeletapi.(*Auth)") {
			filter++
		}
	}
	if paths != 0 || filter == 0 {
		t.Errorf("%s has %d paths of the machine it was made on, and %d functions of the filter", name, paths, filter)
	}
}

// What a flood does to a server: to ours, that nobody who is known gets an error.
// Whoever is not may get a 429, on a busy machine.
func TestFloods(t *testing.T) {
	w := newWorld(0)
	defer w.close()
	for i, b := range newServers(w).measureSieges(log(t), sieges(quick)[:2]) {
		if !b.known[1].all() || len(b.fresh[1].times) == 0 {
			t.Errorf("%d: known callers: %v; new ones: %v", i, b.known[1], b.fresh[1])
		}
		if flooded := len(b.answers); flooded == 0 || b.answers["200"] > 0 {
			t.Errorf("%d: the flood got %v", i, b.answers)
		}
	}
}

func known(t *testing.T, what string, figure float64) {
	t.Helper()
	if !(figure > 0) || math.IsInf(figure, 0) {
		t.Errorf("%s is %v", what, figure)
	}
}
