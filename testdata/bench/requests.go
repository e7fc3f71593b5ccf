package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"

	"kubeletauth/kubeletapi/apiservertest"
)

const (
	connections = 32
	wholeGoal   = 1.03 // how many times the bare server's processor time ours may take
)

// cpuCost is what one kind of request costs each server: nanoseconds of processor
// time, by round.
type cpuCost struct {
	name     string
	byServer map[string][]float64
}

// ratio is the median of the rounds' ratios to the bare server.
func (c cpuCost) ratio(server string) float64 {
	return medianRatio(c.byServer[server], c.byServer["bare"])
}

// measureServers measures bare servers, the kubelet's and ours.
func (s *servers) measureServers(rounds, n int) []cpuCost {
	return s.measureRequests("", "/healthz", rounds, n, s.bare(), s.limited(), s.theirs(), s.ours())
}

// measureProxies measures bare proxies and ours, in front of a server in this
// process.
func (s *servers) measureProxies(rounds, n int) []cpuCost {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	defer upstream.Close()
	to := "--upstream=" + upstream.URL
	return s.measureRequests("--upstream, ", "/upstream", rounds, n, s.bare(to), s.limited(to), s.ours(to))
}

// measureRequests sends each kind of request to all servers in turn, n of them in
// a round, and stops the servers.
func (s *servers) measureRequests(prefix, path string, rounds, n int, processes ...*process) (costs []cpuCost) {
	for _, p := range processes {
		defer p.stop()
	}
	token := s.token()
	certificate := must(s.api.CA.Issue(apiservertest.Certificate{CommonName: "ann", Organizations: []string{"ops"}}))
	for protocol := 1; protocol <= 2; protocol++ {
		name := prefix + []string{1: "HTTP/1.1, ", 2: "HTTP/2, "}[protocol]
		costs = append(costs, measureCPU(name+"token", rounds, n, processes, func(p *process) *load {
			return newLoad(p, path, protocol, token, nil, connections)
		}), measureCPU(name+"certificate", rounds, n, processes, func(p *process) *load {
			return newLoad(p, path, protocol, "", &certificate, connections)
		}))
	}
	return costs
}

func measureCPU(name string, rounds, n int, processes []*process, open func(*process) *load) cpuCost {
	cost := cpuCost{name, map[string][]float64{}}
	loads := map[*process]*load{}
	for _, p := range processes {
		loads[p] = open(p)
		defer loads[p].close()
		loads[p].send(n)
	}
	order := slices.Clone(processes)
	for range rounds {
		for _, p := range order {
			before := p.cpu()
			loads[p].send(n)
			cost.byServer[p.name] = append(cost.byServer[p.name], float64(p.cpu()-before)/float64(n))
		}
		slices.Reverse(order)
	}
	return cost
}

func writeRequests(t *table, costs []cpuCost) {
	t.head("server CPU per request", "bare", "bare with our time limits / bare", "kubelet's server / bare", "ours / bare", "goal", "")
	for _, c := range costs {
		kubelet := ""
		if c.byServer["kubelet"] != nil {
			kubelet = fmt.Sprintf("%.2f", c.ratio("kubelet"))
		}
		ours := c.ratio("server")
		t.row(c.name, nanos(median(c.byServer["bare"])), fmt.Sprintf("%.2f", c.ratio("limited")), kubelet,
			fmt.Sprintf("%.2f", ours), fmt.Sprint("at most ", wholeGoal), verdict(ours <= wholeGoal))
	}
}
