package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kubeletauth/testdata/e2e/internal/harness"
)

// promJob is something that a Prometheus scrapes: the path of a server, with a token and an authority.
type promJob struct {
	name, path, token string
	ca                []byte
}

// promServer is a running Prometheus.
type promServer struct {
	cluster *harness.Cluster
	url     string
	jobs    int
}

// startPrometheus runs a Prometheus that scrapes the jobs of the server at the address every second.
func startPrometheus(t *testing.T, c *harness.Cluster, program, address string, jobs ...promJob) *promServer {
	t.Helper()
	port, err := harness.FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	harness.RunFor(t, "prometheus", exec.Command(program,
		"--config.file="+promConfiguration(t, dir, address, jobs),
		"--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+listen))
	return &promServer{cluster: c, url: "http://" + listen, jobs: len(jobs)}
}

// promConfiguration writes the configuration file, with a token file and an authority for each job.
func promConfiguration(t *testing.T, dir, address string, jobs []promJob) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n")
	for _, job := range jobs {
		token, ca := filepath.Join(dir, job.name+".token"), filepath.Join(dir, job.name+".crt")
		promWrite(t, token, []byte(job.token))
		promWrite(t, ca, job.ca)
		fmt.Fprintf(&text, `
- job_name: %s
  scheme: https
  metrics_path: %s
  authorization: {credentials_file: %q}
  tls_config: {ca_file: %q}
  static_configs: [{targets: [%q]}]
`, job.name, job.path, token, ca, address)
	}
	file := filepath.Join(dir, "prometheus.yml")
	promWrite(t, file, []byte(text.String()))
	return file
}

// promWrite writes a file that nobody else reads.
func promWrite(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitScrapes waits until every job was tried, and returns whether the last try went well, by job: 1 or 0.
func (p *promServer) awaitScrapes(t *testing.T) map[string]string {
	t.Helper()
	var up map[string]string
	pageWithin(t, 20*time.Second, "Prometheus has tried every job", func() bool {
		up = p.query(t, "up", "job")
		return len(up) == p.jobs
	})
	return up
}

// query asks for the present values of an expression, by a label.
func (p *promServer) query(t *testing.T, expression, label string) map[string]string {
	t.Helper()
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any // time and value
			}
		}
	}
	p.get(t, "/api/v1/query?query="+url.QueryEscape(expression), &answer)
	values := map[string]string{}
	for _, series := range answer.Data.Result {
		values[series.Metric[label]] = fmt.Sprint(series.Value[1])
	}
	return values
}

// errors are those of the last scrapes, by job.
func (p *promServer) errors(t *testing.T) map[string]string {
	t.Helper()
	var answer struct {
		Data struct {
			ActiveTargets []struct {
				Labels    map[string]string
				LastError string
			}
		}
	}
	p.get(t, "/api/v1/targets", &answer)
	errors := map[string]string{}
	for _, target := range answer.Data.ActiveTargets {
		errors[target.Labels["job"]] = target.LastError
	}
	return errors
}

// get asks Prometheus itself. While it starts, there is no answer.
func (p *promServer) get(t *testing.T, path string, answer any) {
	t.Helper()
	response, err := p.cluster.HTTPClient(t, nil).Get(p.url + path)
	if err != nil {
		return
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		return
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
