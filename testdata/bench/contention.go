package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"kubeletauth/kubeletapi"
)

// contention is how many decisions a second goroutines make together, with one
// token on as many connections.
type contention struct {
	goroutines    int
	kubelet, ours float64
}

func measureContention(rounds int, round time.Duration) (rows []contention) {
	w := newWorld(0)
	defer w.close()
	chain, auth := w.kubelet(kubeletapi.ModeWebhook, 0), w.ours(w.config(kubeletapi.ModeWebhook))
	token := w.token()
	var theirs, ours []func()
	for range 8 {
		r := w.connected(auth, token, nil)
		theirs, ours = append(theirs, theirCheck(chain, r)), append(ours, ourCheck(auth, r))
	}
	for _, goroutines := range []int{1, 2, 8} {
		var their, our []float64
		for range rounds {
			their = append(their, throughput(theirs[:goroutines], round))
			our = append(our, throughput(ours[:goroutines], round))
		}
		rows = append(rows, contention{goroutines, median(their), median(our)})
	}
	return rows
}

// throughput runs each of the operations in a goroutine of its own, over and over.
func throughput(ops []func(), d time.Duration) float64 {
	var stop atomic.Bool
	var done atomic.Int64
	var running sync.WaitGroup
	start := time.Now()
	for _, op := range ops {
		running.Go(func() {
			n := int64(0)
			for ; !stop.Load(); n++ {
				op()
			}
			done.Add(n)
		})
	}
	time.Sleep(d)
	stop.Store(true)
	running.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

func writeContention(t *table, rows []contention) {
	t.head("goroutines, a connection each, one token", "kubelet", "ours", "kubelet, of one goroutine's", "ours, of one goroutine's")
	for _, c := range rows {
		t.row(fmt.Sprint(c.goroutines), million(c.kubelet), million(c.ours),
			fmt.Sprintf("%.2f", c.kubelet/rows[0].kubelet), fmt.Sprintf("%.2f", c.ours/rows[0].ours))
	}
}

func million(perSecond float64) string { return fmt.Sprintf("%.3g million/s", perSecond/1e6) }
