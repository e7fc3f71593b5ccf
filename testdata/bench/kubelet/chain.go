// Package kubelet is the kubelet's own authentication and authorization, as its
// program puts them together, for other code to measure.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubernetes/cmd/kubelet/app"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/server"
)

// Config is what the kubelet's flags say of its endpoint. Tokens are always on.
type Config struct {
	NodeName     string
	ClientCAFile string
	Mode         kubeletconfig.KubeletAuthorizationMode
	Kubeconfig   string        // the API server; "" is Transport
	TTL          time.Duration // of all that is remembered; 0 is the kubelet's own three

	// Transport answers reviews in place of an API server, with no limit of
	// how many a second.
	Transport http.RoundTripper
}

// Chain is the kubelet's authenticator, its table of attributes and its
// authorizer.
type Chain struct{ server.AuthInterface }

// New builds the chain with BuildAuth of cmd/kubelet/app. It asks the API server
// in JSON, where a kubelet uses protobuf, and at most 50 times a second after the
// first 100, as a kubelet does.
func New(c Config) (*Chain, error) {
	config := &rest.Config{Host: "https://memory", Transport: c.Transport, QPS: -1}
	if c.Kubeconfig != "" {
		var err error
		if config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
			return nil, err
		}
		config.QPS, config.Burst = 50, 100
	}
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	// The files do not change, so what would look at them again is not run.
	auth, _, err := app.BuildAuth("n1", client, c.configuration())
	return &Chain{auth}, err
}

func (c Config) configuration() (k kubeletconfig.KubeletConfiguration) {
	ttl := func(own time.Duration) metav1.Duration {
		if c.TTL > 0 {
			own = c.TTL
		}
		return metav1.Duration{Duration: own}
	}
	k.Authentication.Anonymous.Enabled = true
	k.Authentication.X509.ClientCAFile = c.ClientCAFile
	k.Authentication.Webhook.Enabled = true
	k.Authentication.Webhook.CacheTTL = ttl(2 * time.Minute)
	k.Authorization.Mode = c.Mode
	k.Authorization.Webhook.CacheAuthorizedTTL = ttl(5 * time.Minute)
	k.Authorization.Webhook.CacheUnauthorizedTTL = ttl(30 * time.Second)
	return k
}

// Check decides on a request, as the filter of InstallAuthFilter in
// pkg/kubelet/server does. It removes a token that was accepted from r.
func (c *Chain) Check(r *http.Request) error {
	info, ok, err := c.AuthenticateRequest(r)
	if err != nil || !ok {
		return errors.Join(err, errors.New("Unauthorized"))
	}
	for _, attributes := range c.GetRequestAttributes(context.Background(), info.User, r) {
		decision, _, err := c.Authorize(r.Context(), attributes)
		if err != nil {
			return err
		}
		if decision == authorizer.DecisionAllow {
			return nil
		}
	}
	return fmt.Errorf("Forbidden (user=%s)", info.User.GetName())
}
