package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/google/pprof/profile"

	"kubeletauth/kubeletapi/apiservertest"
)

// profileFile is what the compiler is told of where the program spends its time.
const profileFile = "../../cmd/server/default.pgo"

// writeProfile profiles our server under each kind of request for some time, and
// writes what the compiler needs of that to a file.
func (s *servers) writeProfile(file string, d time.Duration) {
	p := s.profile(d)
	out := must(os.Create(file))
	check(p.Write(out))
	check(out.Close())
}

// profile holds neither a path of this machine nor anything that was not sampled:
// the compiler goes by the names of functions, and by lines from their start.
func (s *servers) profile(d time.Duration) *profile.Profile {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	defer upstream.Close()
	p := s.ours("--profiling", "--upstream="+upstream.URL, "--upstream-paths=/upstream")
	defer p.stop()
	token := s.token()
	certificate := must(s.api.CA.Issue(apiservertest.Certificate{CommonName: "ann", Organizations: []string{"ops"}}))
	var all []*profile.Profile
	for _, path := range []string{"/healthz", "/upstream"} {
		for protocol := 1; protocol <= 2; protocol++ {
			all = append(all, profileLoad(p, newLoad(p, path, protocol, token, nil, connections), token, d))
			all = append(all, profileLoad(p, newLoad(p, path, protocol, "", &certificate, connections), token, d))
		}
	}
	whole := must(profile.Merge(all))
	whole.Mapping, whole.Comments = nil, nil
	for _, l := range whole.Location {
		l.Mapping, l.Address = nil, 0
	}
	for _, f := range whole.Function {
		f.Filename, f.SystemName = "", ""
	}
	check(whole.CheckValid())
	return whole.Compact()
}

// profileLoad profiles a server while it is under load, which it ends.
func profileLoad(p *process, l *load, token string, d time.Duration) *profile.Profile {
	defer l.close()
	seen := make(chan *profile.Profile)
	go func() {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		r := must(http.NewRequest("GET", fmt.Sprintf("https://%s/debug/pprof/profile?seconds=%d", p.address, d/time.Second), nil))
		r.Header.Set("Authorization", "Bearer "+token)
		answer := must(client.Do(r))
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			panic("no profile: " + answer.Status)
		}
		seen <- must(profile.Parse(answer.Body))
	}()
	for {
		select {
		case found := <-seen:
			return found
		default:
			l.send(10 * connections)
		}
	}
}
