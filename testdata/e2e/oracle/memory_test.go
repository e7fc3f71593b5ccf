package oracle

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

// memory is an API server for client-go without a network: one answer, and the question that came last.
type memory struct {
	asked  []byte
	answer []byte
}

// RoundTrip keeps the question and answers.
func (m *memory) RoundTrip(r *http.Request) (*http.Response, error) {
	var err error
	if m.asked, err = io.ReadAll(r.Body); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusCreated,
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(bytes.NewReader(m.answer)),
		Request:    r,
	}, nil
}

// once is to try once.
func once() wait.Backoff { return wait.Backoff{Steps: 1, Duration: time.Nanosecond} }

// config is a configuration without limits.
func (m *memory) config() (*rest.Config, *http.Client) {
	return &rest.Config{Host: "https://memory", QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, &http.Client{Transport: m}
}

// authentication is client-go's client for token reviews.
func (m *memory) authentication(t *testing.T) authenticationclient.AuthenticationV1Interface {
	t.Helper()
	config, client := m.config()
	c, err := authenticationclient.NewForConfigAndClient(config, client)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// authorization is client-go's client for access reviews.
func (m *memory) authorization(t *testing.T) authorizationclient.AuthorizationV1Interface {
	t.Helper()
	config, client := m.config()
	c, err := authorizationclient.NewForConfigAndClient(config, client)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
