package e2e

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kubeletauth/testdata/e2e/internal/harness"
	"kubeletauth/testdata/e2e/internal/ours"
)

// cisConfiguration is a KubeletConfiguration that passes every check, by the words of the benchmark's remediations.
// The words in capitals are replaced by files.
const cisConfiguration = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: true
  x509:
    clientCAFile: CLIENT-CA
authorization:
  mode: Webhook
readOnlyPort: 0
healthzPort: 0
streamingConnectionIdleTimeout: 5m
makeIPTablesUtilChains: true
eventRecordQPS: 50
tlsCertFile: SERVING-CERTIFICATE
tlsPrivateKeyFile: SERVING-KEY
rotateCertificates: true
serverTLSBootstrap: true
featureGates:
  RotateKubeletServerCertificate: true
tlsCipherSuites:
- TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
- TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
- TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305
- TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
- TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305
- TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
podPidsLimit: 4096
seccompDefault: true
`

// cisServer is our server with the configuration of the benchmark.
type cisServer struct {
	*ours.Server
	cluster *harness.Cluster
	host    string         // this machine's name, which is the node's
	config  map[string]any // the file
	serving *harness.Pair
}

// TestCIS shows that the benchmark's checks of a kubelet can be passed, and that our server then does what they are for.
func TestCIS(t *testing.T) {
	c := theCluster(t)
	t.Run("configuration file", func(t *testing.T) {
		s := startCISServer(t, c)
		t.Run("file", s.testFile)
		t.Run("configz", s.testConfigz)
		t.Run("what means nothing here is listed", s.testIgnored)
		t.Run("behaviour", s.testBehaviour)
	})
	t.Run("flags", func(t *testing.T) { testCISFlags(t, c) })
	t.Run("a server without flags does not pass", func(t *testing.T) { testCISDefaults(t, c) })
}

// startCISServer starts our server with the configuration file.
func startCISServer(t *testing.T, c *harness.Cluster) *cisServer {
	t.Helper()
	s := &cisServer{cluster: c, serving: pageIssue(t, c.CA, harness.ServerTemplate("127.0.0.1")), host: cisHost(t)}
	dir := t.TempDir()
	certFile, keyFile, err := s.serving.Write(dir, "serving")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("CLIENT-CA", c.CAFile, "SERVING-CERTIFICATE", certFile, "SERVING-KEY", keyFile).Replace(cisConfiguration)
	if err := yaml.Unmarshal([]byte(text), &s.config); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Server = ours.Start(t, c, ours.Options{Serving: s.serving},
		"--config="+file, "--kubeconfig="+c.NodeKubeconfig(t, s.host))
	return s
}

// cisHost is this machine's name, as that of a node.
func cisHost(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToLower(strings.TrimSpace(name))
}

func (s *cisServer) testFile(t *testing.T) {
	if failed := cisFailed(cisChecks, s.Args, s.config); len(failed) > 0 {
		t.Errorf("not passed: %v", failed)
	}
}

// testConfigz holds what the server says that it does against the checks that mean something here.
func (s *cisServer) testConfigz(t *testing.T) {
	s.cluster.Grant(t, harness.User("cis-reader"), harness.Nodes("get", "proxy"))
	client := s.cluster.HTTPClient(t, s.cluster.ClientCertificate(t, "cis-reader"))
	config := cisConfigz(t, harness.Get(t, client, s.URL+"/configz", ""))
	checks := slices.DeleteFunc(slices.Clone(cisChecks), func(check cisCheck) bool { return !check.ours })
	if failed := cisFailed(checks, nil, config); len(failed) > 0 {
		t.Errorf("not passed: %v\n%v", failed, config)
	}
}

// cisConfigz is the configuration in an answer of /configz.
func cisConfigz(t *testing.T, answer harness.Answer) map[string]any {
	t.Helper()
	var configz struct{ KubeletConfig map[string]any }
	if err := json.Unmarshal([]byte(answer.Body), &configz); err != nil || configz.KubeletConfig == nil {
		t.Fatalf("configz: %d %s", answer.Status, answer.Body)
	}
	return configz.KubeletConfig
}

func (s *cisServer) testIgnored(t *testing.T) {
	log := s.LogTail(100)
	for _, check := range cisChecks {
		if !check.ours && !pageLogLine(log, "no meaning here", check.field) {
			t.Errorf("the log does not say that %s has no meaning here:\n%s", check.field, log)
		}
	}
}

// testBehaviour shows what the checks are for.
func (s *cisServer) testBehaviour(t *testing.T) {
	known := s.cluster.HTTPClient(t, s.cluster.ClientCertificate(t, "cis-known"))
	t.Run("4.2.1 anonymous requests are refused", func(t *testing.T) {
		expect(t, harness.Get(t, s.cluster.HTTPClient(t, nil), s.URL+"/metrics", ""), http.StatusUnauthorized, "Unauthorized")
	})
	t.Run("4.2.2 and 4.2.7 access is reviewed, for the node of this name", func(t *testing.T) {
		mark := s.cluster.AuditMark(t)
		expect(t, harness.Get(t, known, s.URL+"/metrics", ""), http.StatusForbidden, pageForbidden("cis-known", "get", "metrics"))
		reviews := s.cluster.ReviewsSince(t, mark)
		if !slices.ContainsFunc(reviews, func(review harness.Review) bool {
			return review.Access != nil && review.Access.Spec.User == "cis-known" && review.Access.Spec.ResourceAttributes.Name == s.host
		}) {
			t.Errorf("no review asks about node %s: %+v", s.host, reviews)
		}
	})
	t.Run("4.2.3 certificates of other authorities are refused", func(t *testing.T) {
		stranger := s.cluster.HTTPClient(t, pageStranger(t))
		expect(t, harness.Get(t, stranger, s.URL+"/metrics", ""), http.StatusUnauthorized, "Unauthorized")
	})
	t.Run("4.2.4 there is no other port", func(t *testing.T) {
		if ports := cisListeningPorts(t, s.Pid()); !slices.Equal(ports, []int{s.Port}) {
			t.Errorf("the server listens on %v, want %d alone", ports, s.Port)
		}
	})
	t.Run("4.2.9 the serving certificate is the one of the file", func(t *testing.T) {
		state, err := s.handshake(&tls.Config{})
		if err != nil || !state.PeerCertificates[0].Equal(s.serving.Leaf) {
			t.Errorf("%v, %+v", err, state.PeerCertificates)
		}
	})
	t.Run("4.2.12 weak cipher suites are refused", s.testCipherSuites)
}

// testCipherSuites tries every suite of TLS 1.2 that Go has and that goes with the server's ECDSA key.
func (s *cisServer) testCipherSuites(t *testing.T) {
	agreed := 0
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if !strings.Contains(suite.Name, "_ECDSA_") {
			continue
		}
		_, err := s.handshake(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
		strong := slices.Contains(cisCipherSuites, suite.Name) || slices.Contains(cisCipherSuites, strings.TrimSuffix(suite.Name, "_SHA256"))
		if strong != (err == nil) {
			t.Errorf("%s: %v", suite.Name, err)
		}
		if err == nil {
			agreed++
		}
	}
	if agreed != 3 {
		t.Errorf("agreed on %d suites, want 3", agreed)
	}
	if _, err := s.handshake(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("agreed on TLS 1.1")
	}
}

// handshake agrees on TLS with the server.
func (s *cisServer) handshake(config *tls.Config) (tls.ConnectionState, error) {
	config.RootCAs = s.cluster.CA.Pool()
	conn, err := tls.Dial("tcp", net.JoinHostPort(s.Address, strconv.Itoa(s.Port)), config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}

// testCISFlags passes the checks by flags alone, as far as they mean something here. The last one can be passed in a
// file only, for we have no flag for it.
func testCISFlags(t *testing.T, c *harness.Cluster) {
	s := ours.Start(t, c, ours.Options{},
		"--anonymous-auth=false",
		"--authorization-mode=Webhook",
		"--client-ca-file="+c.CAFile,
		"--tls-cipher-suites="+strings.Join(cisCipherSuites, ","),
		"--authentication-token-webhook",
		"--kubeconfig="+c.NodeKubeconfig(t, cisHost(t)))
	if failed := cisFailed(cisChecks, s.Args, nil); !slices.Equal(failed, []string{"4.2.13"}) {
		t.Errorf("not passed: %v", failed)
	}
	expect(t, harness.Get(t, c.HTTPClient(t, nil), s.URL+"/metrics", ""), http.StatusUnauthorized, "Unauthorized")
}

// testCISDefaults shows that the checks notice something: what the flags' defaults mean, by /configz.
func testCISDefaults(t *testing.T, c *harness.Cluster) {
	s := ours.Start(t, c, ours.Options{})
	config := cisConfigz(t, harness.Get(t, c.HTTPClient(t, nil), s.URL+"/configz", ""))
	want := []string{"4.2.1", "4.2.2", "4.2.3", "4.2.12", "4.2.13"}
	if failed := cisFailed(cisChecks, nil, config); !slices.Equal(failed, want) {
		t.Errorf("not passed: %v, want %v", failed, want)
	}
}
