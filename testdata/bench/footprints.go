package main

import (
	"fmt"
	"time"
)

// footprint is what a server takes besides processor time: sizes in bytes.
type footprint struct {
	start        float64 // nanoseconds until the first authorized answer
	idle         float64 // resident after that
	loaded, peak float64 // resident after many requests, and at most
	binary       float64
	modules      int
}

// measureFootprints starts each server anew in each round.
func (s *servers) measureFootprints(rounds, requests int) (bare, theirs, ours footprint) {
	token := s.token()
	starters := []func() *process{func() *process { return s.bare() }, s.theirs, func() *process { return s.ours() }}
	starts, idle := make([][]float64, len(starters)), make([][]float64, len(starters))
	for range rounds {
		for i, start := range starters {
			p := start()
			newLoad(p, "/healthz", 1, token, nil, 1).close()
			starts[i] = append(starts[i], float64(time.Since(p.began)))
			time.Sleep(300 * time.Millisecond) // what starting needed is done with
			idle[i] = append(idle[i], p.status("VmRSS"))
			p.stop()
		}
	}
	for i, f := range []*footprint{&bare, &theirs, &ours} {
		p := starters[i]()
		l := newLoad(p, "/healthz", 1, token, nil, connections)
		l.send(requests)
		f.start, f.idle, f.loaded, f.peak = median(starts[i]), median(idle[i]), p.status("VmRSS"), p.status("VmHWM")
		f.binary, f.modules = s.binary(p.name)
		l.close()
		p.stop()
	}
	return bare, theirs, ours
}

func writeFootprints(t *table, requests int, bare, theirs, ours footprint) {
	t.head("", "bare", "kubelet's server", "ours", "goal", "")
	row := func(name, goal string, met bool, text func(footprint) string) {
		t.row(name, text(bare), text(theirs), text(ours), goal, verdict(met))
	}
	row("start to first authorized answer", "under 25 ms", ours.start < 25e6, func(f footprint) string { return nanos(f.start) })
	row("idle resident memory", "under 10 MB", ours.idle < 10e6, func(f footprint) string { return megabytes(f.idle) })
	row(fmt.Sprintf("after %d requests (at most)", requests), "under 18 MB", ours.loaded < 18e6, func(f footprint) string {
		return fmt.Sprintf("%s (%s)", megabytes(f.loaded), megabytes(f.peak))
	})
	row("stripped binary; modules", "under 8 MB; 0", ours.binary < 8e6 && ours.modules == 0, func(f footprint) string {
		return fmt.Sprintf("%s; %d", megabytes(f.binary), f.modules)
	})
}

func megabytes(bytes float64) string { return fmt.Sprintf("%.1f MB", bytes/1e6) }
