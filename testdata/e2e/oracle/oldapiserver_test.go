package oracle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authenticationv1beta1 "k8s.io/api/authentication/v1beta1"
	authorizationv1 "k8s.io/api/authorization/v1"
	authorizationv1beta1 "k8s.io/api/authorization/v1beta1"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/kubeclient"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestAPIServerVersions shows that what our client sends is what the types of each version mean, to the last field: v1
// to an API server that knows it, and v1beta1 to an old one.
func TestAPIServerVersions(t *testing.T) {
	for _, version := range []string{"v1", "v1beta1"} {
		t.Run(version, func(t *testing.T) {
			s := generate.New(t)
			w := startWire(t, version == "v1beta1")
			run(t, 1500, func() string { return w.tokenReview(t, s, version) })
			run(t, 1500, func() string { return w.accessReview(t, s, version) })
			w.expectVersion(t, version)
		})
	}
}

// wire is a stand-in API server behind which the bytes of the last question are kept, and our client of it.
type wire struct {
	api    *apiservertest.Server
	client *kubeclient.Client

	path string
	body []byte
}

// startWire starts it. An old API server knows v1beta1 only.
func startWire(t *testing.T, old bool) *wire {
	t.Helper()
	w := &wire{api: apiservertest.MustStart(t, apiservertest.Config{})}
	if old {
		w.api.Inject("tokenreviews/v1", apiservertest.Fault{Status: http.StatusNotFound})
		w.api.Inject("subjectaccessreviews/v1", apiservertest.Fault{Status: http.StatusNotFound})
	}
	front := httptest.NewTLSServer(w)
	t.Cleanup(front.Close)
	kubeconfig := map[string]any{
		"clusters": []any{map[string]any{"name": "c", "cluster": map[string]any{
			"server": front.URL, "certificate-authority-data": certificatePEM(front.Certificate()),
		}}},
		"users":           []any{map[string]any{"name": "u", "user": map[string]any{"token": w.api.ClientToken()}}},
		"contexts":        []any{map[string]any{"name": "x", "context": map[string]any{"cluster": "c", "user": "u"}}},
		"current-context": "x",
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, mustJSON(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.client, err = kubeclient.New(kubeclient.Config{Kubeconfig: file}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

// ServeHTTP keeps the question and lets the stand-in answer.
func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.path, w.body = r.URL.Path, body
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.api.ServeHTTP(rw, r)
}

// tokenReview reviews any token, which the stand-in knows or not.
func (w *wire) tokenReview(t *testing.T, s *generate.Source, version string) string {
	t.Helper()
	token := "token-" + fmt.Sprint(s.IntN(50)) + s.Text(2, "ö", "<&>", "\"", "\\", " ", "\u2028", "\x7f")
	u := *anyUser(s)
	known := s.Chance(2)
	if known {
		w.api.SetToken(token, u)
	} else {
		w.api.RevokeToken(token)
	}
	spec := authn.TokenReviewSpec{Token: token, Audiences: anyAudiences(s)}
	status, err := w.client.ReviewToken(t.Context(), spec)
	if err != nil {
		return err.Error()
	}
	if wrong := w.decodeToken(version, spec); wrong != "" {
		return wrong
	}
	if status.Authenticated && (!known || !cmp.Equal(anyJSON(status.User), anyJSON(u))) {
		return cmp.Diff(u, status.User)
	}
	return ""
}

// decodeToken decodes the question with the types of its version.
func (w *wire) decodeToken(version string, spec authn.TokenReviewSpec) string {
	if version == "v1" {
		var review authenticationv1.TokenReview
		return w.decode(version, &review, func() string {
			return cmp.Diff(anyJSON(spec), anyJSON(review.Spec)) + mustBe(review.Kind, "TokenReview") + mustBe(review.APIVersion, "authentication.k8s.io/v1")
		})
	}
	var review authenticationv1beta1.TokenReview
	return w.decode(version, &review, func() string {
		return cmp.Diff(anyJSON(spec), anyJSON(review.Spec)) + mustBe(review.Kind, "TokenReview") + mustBe(review.APIVersion, "authentication.k8s.io/v1beta1")
	})
}

// accessReview reviews any attributes of any user.
func (w *wire) accessReview(t *testing.T, s *generate.Source, version string) string {
	t.Helper()
	a, _ := anyAttributes(s)
	reviewer := &accessReviewer{answer: []byte("{}")}
	if _, _, err := (authz.Webhook{Reviewer: reviewer}).Authorize(t.Context(), a); err != nil {
		return err.Error()
	}
	spec := reviewer.asked
	w.api.SetDecide(func(authz.SubjectAccessReviewSpec) authz.SubjectAccessReviewStatus {
		return authz.SubjectAccessReviewStatus{Allowed: true, Reason: "told so"}
	})
	status, err := w.client.ReviewAccess(t.Context(), spec)
	var refused *kubeclient.StatusError
	if errors.As(err, &refused) && refused.Code == http.StatusUnprocessableEntity {
		return w.decodeAccess(version, spec) // for what it asks, not for how
	}
	if err != nil {
		return err.Error()
	}
	if !status.Allowed || status.Reason != "told so" {
		return fmt.Sprintf("the answer is %+v", status)
	}
	return w.decodeAccess(version, spec)
}

// decodeAccess decodes the question with the types of its version.
func (w *wire) decodeAccess(version string, spec authz.SubjectAccessReviewSpec) string {
	if version == "v1" {
		var review authorizationv1.SubjectAccessReview
		return w.decode(version, &review, func() string {
			return cmp.Diff(anyJSON(spec), anyJSON(review.Spec)) + mustBe(review.Kind, "SubjectAccessReview") + mustBe(review.APIVersion, "authorization.k8s.io/v1")
		})
	}
	var review authorizationv1beta1.SubjectAccessReview
	return w.decode(version, &review, func() string {
		groups := review.Spec.Groups
		review.Spec.Groups = nil
		want := spec
		want.Groups = nil
		if want.ResourceAttributes != nil { // an old API server is not told of selectors
			attributes := *want.ResourceAttributes
			attributes.FieldSelector, attributes.LabelSelector = nil, nil
			want.ResourceAttributes = &attributes
		}
		return cmp.Diff(anyJSON(want), anyJSON(review.Spec)) + cmp.Diff(strings.Join(spec.Groups, "\x00"), strings.Join(groups, "\x00")) +
			mustBe(review.Kind, "SubjectAccessReview") + mustBe(review.APIVersion, "authorization.k8s.io/v1beta1")
	})
}

// decode decodes the question into a type of Kubernetes. A field that the type does not have is an error.
func (w *wire) decode(version string, review any, diff func() string) string {
	if got := path.Base(path.Dir(w.path)); got != version {
		return fmt.Sprintf("asked %s, want version %s", w.path, version)
	}
	decoder := json.NewDecoder(bytes.NewReader(w.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(review); err != nil {
		return fmt.Sprintf("%s: %v", w.body, err)
	}
	if wrong := diff(); wrong != "" {
		return fmt.Sprintf("%s: %s", w.body, wrong)
	}
	return ""
}

// mustBe is empty if both are the same.
func mustBe(got, want string) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%q, want %q", got, want)
}

// expectVersion shows that an old API server is asked for v1 once, and then no more.
func (w *wire) expectVersion(t *testing.T, version string) {
	t.Helper()
	for _, resource := range []string{apiservertest.TokenReviews, apiservertest.SubjectAccessReviews} {
		v1, beta := w.api.Count(resource+"/v1"), w.api.Count(resource+"/v1beta1")
		if version == "v1" && beta != 0 || version == "v1beta1" && v1 != 1 {
			t.Errorf("%s: v1 was asked %d times, v1beta1 %d times", resource, v1, beta)
		}
	}
}
