package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
)

const (
	windows = 6

	// What may differ between the second window and the last one: a tenth of the
	// heap and 4 MiB, and what is kept of each credential and review that came in
	// between, as long as there is room for them.
	heapRatio, heapSlack = 1.1, 4 << 20
	placeBytes           = 2 << 10
	goroutineSlack       = 20
	fileSlack            = 20
)

// sample is what there is in a pause.
type sample struct {
	at                time.Duration
	heap              uint64
	goroutines, files int
	places            int // taken in what is bounded: the server's caches, the API server's journal
}

// settle waits until nothing goes away any more, three seconds at least.
func settle() sample {
	http.DefaultClient.CloseIdleConnections()
	s := sample{heap: 1 << 62, goroutines: 1 << 30, files: 1 << 30}
	for range 15 {
		time.Sleep(200 * time.Millisecond)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		files, _ := os.ReadDir("/proc/self/fd")
		s.heap, s.goroutines, s.files = min(s.heap, m.HeapAlloc), min(s.goroutines, runtime.NumGoroutine()), min(s.files, len(files))
	}
	return s
}

// run loads the town for a time, with a pause after each window.
func (t *town) run(duration time.Duration) []sample {
	ctx, cancel := context.WithCancel(context.Background())
	loaded, rotated, troubled := t.load(ctx), t.rotate(ctx), make(chan bool)
	go func() { t.trouble(ctx); close(troubled) }()
	start := time.Now()
	var samples []sample
	for i := range windows {
		time.Sleep(time.Until(start.Add(duration * time.Duration(i+1) / windows)))
		t.pause.Lock()
		s := settle()
		s.at, s.places = time.Since(start), t.places()
		samples = append(samples, s)
		t.pause.Unlock()
	}
	cancel()
	loaded()
	rotated()
	<-troubled
	return samples
}

func (t *town) places() int {
	credentials, reviews := int(t.number.Load()), t.api.Count(apiservertest.TokenReviews)+t.api.Count(apiservertest.SubjectAccessReviews)
	return 2*min(credentials, 8192) + min(credentials, 4096) + min(reviews, 10_000)
}

// writeWindows reports whether they are flat, and whether nothing is left.
func writeWindows(out io.Writer, start sample, all []sample, end sample) bool {
	fmt.Fprintf(out, "\n| in the pause after | heap | goroutines | descriptors |\n|---|---|---|---|\n")
	row := func(name string, s sample) {
		fmt.Fprintf(out, "| %s | %.1f MiB | %d | %d |\n", name, float64(s.heap)/(1<<20), s.goroutines, s.files)
	}
	row("nothing: before the start", start)
	for _, s := range all {
		row(s.at.Round(time.Second).String(), s)
	}
	row("everything: all is closed", end)
	warm, last := all[1], all[len(all)-1]
	heap := heapRatio*float64(warm.heap) + heapSlack + placeBytes*float64(last.places-warm.places)
	ok := float64(last.heap) <= heap && last.goroutines <= warm.goroutines+goroutineSlack && last.files <= warm.files+fileSlack
	fmt.Fprintf(out, "\nThe last pause may have %.1f MiB, %d goroutines and %d descriptors, by the second one: %s.\n",
		heap/(1<<20), warm.goroutines+goroutineSlack, warm.files+fileSlack, verdict(ok))
	gone := end.goroutines <= start.goroutines && end.files <= start.files+2 // what the runtime opens once
	fmt.Fprintf(out, "After the end, no goroutine and no descriptor may be left: %s.\n", verdict(gone))
	if !gone {
		stacks := make([]byte, 1<<16)
		fmt.Fprintf(out, "\n```\n%s\n```\n", stacks[:runtime.Stack(stacks, true)])
	}
	return ok && gone
}

func verdict(ok bool) string {
	if ok {
		return "so it is"
	}
	return "**it is not so**"
}

func (t *town) writeCallers(out io.Writer) {
	fmt.Fprintf(out, "| caller | answers | slowest |\n|---|---|---|\n")
	for _, c := range callers() {
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(t.counts[c.name])) {
			codes = append(codes, fmt.Sprintf("%s: %d", strings.Replace(code, "0", "none", btoi(code == "0")), t.counts[c.name][code]))
		}
		fmt.Fprintf(out, "| %s | %s | %v |\n", c.name, strings.Join(codes, ", "), t.slowest[c.name].Round(time.Millisecond))
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (t *town) writeTrouble(out io.Writer) {
	fmt.Fprintf(out, "\n| what happened | times |\n|---|---|\n")
	for _, event := range slices.Sorted(maps.Keys(t.events)) {
		fmt.Fprintf(out, "| %s | %d |\n", event, t.events[event])
	}
	fmt.Fprintf(out, "\nA client of an authority that was taken out of the file was served %v longer at most.\n", t.revoked.Round(time.Millisecond))
}

// writeViolations reports whether there were none.
func (t *town) writeViolations(out io.Writer) bool {
	fmt.Fprintf(out, "\nAnswers that should not be: %d kinds.\n", len(t.violations))
	for _, what := range slices.Sorted(maps.Keys(t.violations)) {
		fmt.Fprintf(out, "- %d × %s\n", t.violations[what], what)
	}
	return len(t.violations) == 0
}
