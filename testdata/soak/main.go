// Soak keeps a server under full load while everything around it fails and
// changes, and writes in Markdown what came of it:
//
//	go -C testdata/soak run -race . -duration=30m
//
// Every answer is checked: who may is served throughout, unless the one thing
// that it needs is out of order at that moment, and nobody else ever is. Heap,
// goroutines and file descriptors are compared in pauses. It exits with 1 if
// anything is not as it should be.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	duration := flag.Duration("duration", time.Minute, "how long, in six windows with a pause after each")
	flag.Parse()
	if !soak(*duration, os.Stdout) {
		os.Exit(1)
	}
}

// soak reports whether all was well.
func soak(duration time.Duration, out io.Writer) bool {
	dir, err := os.MkdirTemp("", "soak-")
	must(err)
	defer os.RemoveAll(dir)
	start := settle()
	t := newTown(dir)
	windows := t.run(duration)
	t.close()
	end := settle()
	fmt.Fprintf(out, "# Soak of %v, race detector %s\n\n", duration, onOff(raceDetector))
	t.writeCallers(out)
	t.writeTrouble(out)
	ok := writeWindows(out, start, windows, end)
	return t.writeViolations(out) && ok
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
