// Bench measures kubeletauth against the kubelet's own authentication and
// authorization, and writes Markdown:
//
//	go -C testdata/bench run .
//
// Decisions are measured in this process, with the kubelet's chain as its program
// builds it; servers as processes beside it, by the processor time that the
// kernel says they took. What is compared is measured in turn, in rounds; what is
// written are medians, of the rounds' ratios too.
//
// -quick measures less of the same. Arguments choose sections; none is all.
//
// -profile measures nothing, and writes the profile that the compiler reads when
// cmd/server is built. It is to be renewed after changes to what each request runs
// through.
package main

import (
	"flag"
	"io"
	"os"
	"slices"
	"time"

	"k8s.io/klog/v2"
)

// size is how much is measured.
type size struct {
	rounds       int
	round        time.Duration // of one kind of decision
	tokens       int           // whose memory is measured
	expiries     int
	serverRounds int
	requests     int // in a round, to a server
	loaded       int // before a server's memory is looked at
	floodShare   int // percent of what a flood is measured for
}

var (
	full  = size{8, 100 * time.Millisecond, 100_000, 3, 80, 1_280, 50_000, 100}
	quick = size{3, 5 * time.Millisecond, 5_000, 1, 3, 640, 3_200, 2}
)

// sections measure and write, in this order. The servers are built for the first
// of those that ask for them.
var sections = []struct {
	name  string
	write func(t *table, z size, s func() *servers)
}{
	{"decisions", func(t *table, z size, _ func() *servers) { writeDecisions(t, measureDecisions(z.rounds, z.round)) }},
	{"callers", func(t *table, z size, _ func() *servers) {
		t.head("", "kubelet", "ours", "goal", "")
		theirs, ours := measureCrowd(z.rounds)
		writeCrowd(t, theirs, ours)
		theirs, ours = measureExpiry(z.expiries)
		writeExpiry(t, z.expiries, theirs, ours)
	}},
	{"memory", func(t *table, z size, _ func() *servers) {
		theirs, ours := measureMemory(z.tokens)
		writeMemory(t, z.tokens, theirs, ours)
	}},
	{"contention", func(t *table, z size, _ func() *servers) { writeContention(t, measureContention(z.rounds, 2*z.round)) }},
	{"servers", func(t *table, z size, s func() *servers) {
		writeRequests(t, s().measureServers(z.serverRounds, z.requests))
	}},
	{"proxies", func(t *table, z size, s func() *servers) {
		if !s().knows("upstream") {
			t.say("A proxy is not compared: this server has no --upstream.")
			return
		}
		writeRequests(t, s().measureProxies(z.serverRounds, z.requests))
	}},
	{"footprints", func(t *table, z size, s func() *servers) {
		bare, theirs, ours := s().measureFootprints(z.rounds, z.loaded)
		writeFootprints(t, z.loaded, bare, theirs, ours)
	}},
	{"floods", func(t *table, z size, s func() *servers) { s().measureSieges(t, sieges(z)) }},
}

func main() {
	short := flag.Bool("quick", false, "measure less")
	renew := flag.Bool("profile", false, "write the profile that cmd/server is built with")
	flag.Parse()
	z := full
	if *short {
		z = quick
	}
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	w := newWorld(0)
	defer w.close()
	if *renew {
		newServers(w).writeProfile(profileFile, 12*time.Second)
		return
	}
	var built *servers
	t := &table{os.Stdout}
	t.say("%s", machine())
	for _, section := range sections {
		if flag.NArg() == 0 || slices.Contains(flag.Args(), section.name) {
			section.write(t, z, func() *servers {
				if built == nil {
					built = newServers(w)
				}
				return built
			})
		}
	}
}
