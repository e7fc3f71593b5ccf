package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// siege is a flood, and how long it is looked at.
type siege struct {
	name                string
	connections         int
	rate                float64
	fresh, hangs        bool
	usual, flood, after time.Duration
}

// sieges are those of the issue that this section answers, scaled to the machine.
func sieges(z size) []siege {
	long := func(full time.Duration) time.Duration {
		return max(full*time.Duration(z.floodShare)/100, 2*time.Second)
	}
	rate := min(10_000, 1_250*float64(runtime.NumCPU()))
	connections := max(2_000*z.floodShare/100, 50)
	return []siege{
		{"Distinct garbage tokens over connections that are kept", connections, rate, false, false, long(10 * time.Second), long(30 * time.Second), long(45 * time.Second)},
		{"Distinct garbage tokens, each over a fresh connection", connections, rate / 10, true, false, long(10 * time.Second), long(30 * time.Second), long(10 * time.Second)},
		{"A trickle of garbage tokens", connections, 200, false, false, long(5 * time.Second), long(140 * time.Second), long(10 * time.Second)},
		{"A trickle of them while the API server hangs", 100, 20, false, true, long(5 * time.Second), long(20 * time.Second), long(20 * time.Second)},
	}
}

// besieged is what became of a server.
type besieged struct {
	known           [2]*asked // usually, and during the flood
	fresh           [3]*asked // and after it
	recovered       time.Duration
	memory, logged  float64 // bytes; those in the log a second
	reviews         float64 // a second
	at              int     // once
	cpu, flooderCPU float64 // processors that the server took, and the flood
	answers         map[string]int
	duration        time.Duration
}

// measureSiege floods a server, and stops it.
func (s *servers) measureSiege(z siege, start func() *process, api *floodAPI) (b *besieged) {
	b = new(besieged)
	p := start()
	defer p.stop()
	c := &honest{world: s.world, url: "https://" + p.address + "/healthz", token: s.jwt()}
	c.during(z.usual) // the first request is no usual one
	b.known[0], b.fresh[0] = c.during(z.usual)
	api.count()
	logged, cpu, began := bytesOf(p.log), p.cpu(), time.Now()
	flood := s.startFlood(z, p.address)
	if z.hangs {
		end := api.hang()
		b.known[1], b.fresh[1] = c.during(z.flood)
		end()
	} else {
		b.known[1], b.fresh[1] = c.during(z.flood)
	}
	b.duration = time.Since(began)
	seconds := b.duration.Seconds()
	reviews, at := api.count()
	b.reviews, b.at = float64(reviews)/seconds, at
	b.logged, b.cpu = (bytesOf(p.log)-logged)/seconds, (p.cpu()-cpu).Seconds()/seconds
	b.answers, b.flooderCPU = flood.end()
	b.flooderCPU /= seconds
	ended := time.Now()
	_, b.fresh[2] = c.during(z.after)
	b.recovered = max(b.fresh[2].late.Sub(ended), 0)
	b.memory = p.status("VmHWM")
	return b
}

func bytesOf(file string) float64 { return float64(must(os.Stat(file)).Size()) }

// flooding is a flood that is under way.
type flooding struct {
	cmd *exec.Cmd
	in  io.Closer
	out io.Reader
}

func (s *servers) startFlood(z siege, address string) *flooding {
	cmd := exec.Command(s.path("flood"), "-address="+address, fmt.Sprint("-connections=", z.connections), fmt.Sprint("-rate=", z.rate), fmt.Sprint("-fresh=", z.fresh))
	cmd.Stderr = os.Stderr
	f := &flooding{cmd, must(cmd.StdinPipe()), must(cmd.StdoutPipe())}
	check(startIdle(cmd))
	return f
}

// startIdle has a process run when nobody else does, as a real flood takes no
// processors of the server's machine. It gives up the thread that it is started
// from, of which it inherits that.
func startIdle(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// end returns the answers by code, and the seconds of processors that they took.
func (f *flooding) end() (answers map[string]int, cpu float64) {
	check(f.in.Close())
	check(json.NewDecoder(f.out).Decode(&answers))
	check(f.cmd.Wait())
	return answers, (f.cmd.ProcessState.UserTime() + f.cmd.ProcessState.SystemTime()).Seconds()
}

// honest callers are one who is known, over a connection that it keeps, and new
// ones, each with a new token over a new connection.
type honest struct {
	*world
	url, token string
	client     *http.Client
}

// asked is what callers got.
type asked struct {
	mu    sync.Mutex
	times []time.Duration
	codes map[int]int
	late  time.Time // when the last one began that was not served soon
}

const (
	knownEvery = 10 * time.Millisecond
	newEvery   = 250 * time.Millisecond
	soon       = 10 * floodLatency
	late       = time.Second // also for a machine with other things to do
)

// during asks for so long, and waits for the last answers.
func (c *honest) during(d time.Duration) (known, fresh *asked) {
	known, fresh = new(asked), new(asked)
	if c.client == nil {
		c.client = newClient()
	}
	var all sync.WaitGroup
	end := time.Now().Add(d)
	all.Go(func() {
		for ; time.Now().Before(end); time.Sleep(knownEvery) {
			known.ask(c.client, c.url, c.token)
		}
	})
	for ; time.Now().Before(end); time.Sleep(newEvery) {
		token := c.jwt()
		all.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			fresh.ask(client, c.url, token)
		})
	}
	all.Wait()
	return known, fresh
}

func newClient() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // of a server that this program started
	}}
}

func (a *asked) ask(client *http.Client, url, token string) {
	r := must(http.NewRequest("GET", url, nil))
	r.Header.Set("Authorization", "Bearer "+token)
	began, code := time.Now(), 0
	if answer, err := client.Do(r); err == nil {
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		code = answer.StatusCode
	}
	took := time.Since(began)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.codes == nil {
		a.codes = map[int]int{}
	}
	a.codes[code]++
	a.times = append(a.times, took)
	if (code != http.StatusOK || took > late) && began.After(a.late) {
		a.late = began
	}
}

// percentile is in nanoseconds.
func (a *asked) percentile(p int) float64 {
	if len(a.times) == 0 {
		return 0
	}
	times := slices.Sorted(slices.Values(a.times))
	return float64(times[min(len(times)*p/100, len(times)-1)])
}

func (a *asked) String() string {
	return fmt.Sprintf("%s; p50 %s, p99 %s", a.served(), nanos(a.percentile(50)), nanos(a.percentile(99)))
}

// served says who was, and what the others got.
func (a *asked) served() string {
	text := fmt.Sprintf("%d of %d", a.codes[http.StatusOK], len(a.times))
	for _, code := range slices.Sorted(maps.Keys(a.codes)) {
		if code != http.StatusOK {
			text += fmt.Sprintf(", %d got %d", a.codes[code], code)
		}
	}
	return text
}

func (a *asked) all() bool { return a.codes[http.StatusOK] == len(a.times) }

// measureSieges writes a table for each. What nobody filters shows how much of
// what an honest caller waits for is net/http's, and this machine's.
func (s *servers) measureSieges(t *table, sieges []siege) (ours []*besieged) {
	s.build("CGO_ENABLED=0", "-trimpath", "./server/flood")
	api, kubeconfig := s.newFloodAPI()
	defer api.server.Close()
	defer func(before string) { s.kubeconfig = before }(s.kubeconfig)
	s.kubeconfig = kubeconfig
	for _, z := range sieges {
		bare := s.measureSiege(z, func() *process { return s.limited() }, api)
		theirs := s.measureSiege(z, s.theirs, api)
		mine := s.measureSiege(z, func() *process { return s.ours() }, api)
		writeSiege(t, z, bare, theirs, mine)
		ours = append(ours, mine)
	}
	return ours
}

func writeSiege(t *table, z siege, bare, theirs, ours *besieged) {
	t.say("%s: %d connections, at most %.0f requests a second for %v, from the address of the honest callers; an API server that answers in %v. The flood has a process of its own, which runs when the others do not, on the same %d processors.",
		z.name, z.connections, z.rate, ours.duration.Round(time.Second), floodLatency, runtime.NumCPU())
	t.head("", "bare, nothing refused", "kubelet's server", "ours", "goal", "")
	row := func(name, goal string, met string, text func(*besieged) string) {
		t.row(name, text(bare), text(theirs), text(ours), goal, met)
	}
	limit := float64(soon)
	known := ours.known[1].all() && ours.known[1].percentile(99) <= 2*ours.known[0].percentile(99)
	row("known token, usually", "", "", func(b *besieged) string { return b.known[0].String() })
	row("known token, during the flood", "no error, at most twice the usual p99", verdict(known), func(b *besieged) string { return b.known[1].String() })
	row("new valid token, usually", "", "", func(b *besieged) string { return b.fresh[0].String() })
	goal, met := fmt.Sprintf("all, p99 within %v", soon), verdict(ours.fresh[1].all() && ours.fresh[1].percentile(99) <= limit)
	if z.hangs {
		goal, met = "an answer within 16 s", verdict(ours.fresh[1].percentile(100) < 16e9)
	}
	row("new valid token, during the flood", goal, met, func(b *besieged) string { return b.fresh[1].String() })
	row("new valid token, after it", "", "", func(b *besieged) string { return b.fresh[2].String() })
	row(fmt.Sprintf("from then on until all new ones were served within %v", late), "1 s", verdict(ours.recovered <= time.Second), func(b *besieged) string { return b.recovered.Round(10 * time.Millisecond).String() })
	row("resident memory, at most", "under 200 MB", verdict(ours.memory < 200e6), func(b *besieged) string { return megabytes(b.memory) })
	row("log, a second", "under 20 KB", verdict(ours.logged < 20e3), func(b *besieged) string { return fmt.Sprintf("%.1f KB", b.logged/1e3) })
	callers := 2 * float64(time.Second/newEvery)
	most := 50 + 100/ours.duration.Seconds() + callers + 2
	row("reviews a second (at once)", fmt.Sprintf("%.0f: 50, a burst of 100, the honest", most), verdict(ours.reviews <= most), func(b *besieged) string { return fmt.Sprintf("%.0f (%d)", b.reviews, b.at) })
	row("answers to the flood", "", "", func(b *besieged) string { return b.answered() })
	row("processors taken by the server, by the flood", "", "", func(b *besieged) string { return fmt.Sprintf("%.2f, %.2f", b.cpu, b.flooderCPU) })
}

func (b *besieged) answered() string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(b.answers)) {
		name := code
		if code == "0" {
			name = "no answer"
		}
		parts = append(parts, fmt.Sprintf("%s: %.0f/s", name, float64(b.answers[code])/b.duration.Seconds()))
	}
	return strings.Join(parts, ", ")
}
