package oracle

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/tools/clientcmd"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/kubeclient"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestKubeconfig compares what a kubeconfig does: both clients read the same file and ask the same server, which sees
// the path, the credentials and the name that it is called by. What only one of the two takes is in
// kubeconfigDifferences.
func TestKubeconfig(t *testing.T) {
	s := generate.New(t)
	w := newWitness(t)
	file := filepath.Join(w.dir, "kubeconfig")
	outcomes := map[string]int{}
	run(t, 5000, func() string {
		k := w.anyKubeconfig(s)
		text := k.file(s)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err.Error()
		}
		want := w.see(func() error { return askAsKubernetes(t.Context(), file) })
		got := w.see(func() error { return askAsOurs(t.Context(), file) })
		if diff := cmp.Diff(want.Seen, got.Seen); diff != "" {
			if name := k.difference(want, got); name != "" {
				outcomes[name]++
				return ""
			}
			return fmt.Sprintf("%s\nours: %v\nclient-go: %v\n%s", k, got.err, want.err, diff)
		}
		outcomes[fmt.Sprintf("the same, asked: %t", got.Seen != nil)]++
		return ""
	})
	t.Logf("%v", outcomes)
}

// askAsKubernetes sends a review as client-go does with the file.
func askAsKubernetes(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: file}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return err
	}
	client, err := authenticationclient.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "t"}}, metav1.CreateOptions{})
	return err
}

// askAsOurs sends a review as our client does with the file.
func askAsOurs(ctx context.Context, file string) error {
	client, err := kubeclient.New(kubeclient.Config{Kubeconfig: file, Timeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.ReviewToken(ctx, authn.TokenReviewSpec{Token: "t"})
	return err
}
