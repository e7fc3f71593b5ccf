package kubeclient

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"kubeletauth/authz"
	"kubeletauth/kubeletapi/internal/exactjson"
	"kubeletauth/kubeletapi/internal/ttlcache"
)

const (
	v1      = "v1"
	v1beta1 = "v1beta1"

	// betaMemory is how long v1 is not tried again, so that an upgraded API
	// server is noticed.
	betaMemory = 10 * time.Minute
)

// api is one kind of review, and which version of it the API server knows.
type api struct {
	kind, group, resource string
	// beta is when v1beta1 was last found to be the version to ask; nil for v1.
	beta atomic.Pointer[time.Time]
}

// question is one review to be made.
type question struct {
	*api
	spec   func(version string) any
	secret string   // must not appear in an answer's texts
	held   []string // secrets that the last request held, this one among them
}

// review asks for one review, with retries.
func review[Status any](ctx context.Context, c *Client, q *question) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	var data []byte
	var version string
	err := c.trouble.retry(ctx, q.key, func() (err error) {
		data, version, err = c.ask(ctx, q)
		return err
	})
	if err != nil {
		return nil, err
	}
	status, err := decode[Status](data, q.kind, q.group+"/"+version, q.held...)
	if err != nil {
		return nil, fmt.Errorf("reading the %s of the API server: %w", q.kind, err)
	}
	return status, nil
}

// decode takes the status out of an answer. Its error holds none of the secrets.
func decode[Status any](data []byte, kind, apiVersion string, secrets ...string) (*Status, error) {
	var answer struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Status     Status `json:"status"`
	}
	err := exactjson.Unmarshal(data, &answer)
	if err != nil && !errors.As(err, new(*json.UnmarshalTypeError)) { // with which the rest was read
		return nil, errors.New(oneLine(err.Error(), secrets...))
	}
	if cmp.Or(answer.Kind, kind) != kind || cmp.Or(answer.APIVersion, apiVersion) != apiVersion { // as with client-go, none is the one asked for
		return nil, fmt.Errorf("it is of kind %q in apiVersion %q, and must be of kind %q in apiVersion %q",
			oneLine(answer.Kind, secrets...), oneLine(answer.APIVersion, secrets...), kind, apiVersion)
	}
	if err != nil {
		return nil, errors.New(oneLine(err.Error(), secrets...))
	}
	return &answer.Status, nil
}

// ask sends a question in the version that the API server is thought to know,
// and in the other if it answers 404.
func (c *Client) ask(ctx context.Context, q *question) (data []byte, version string, err error) {
	now := time.Now()
	version = q.preferred(now)
	if data, err = c.send(ctx, q, version); !isNotFound(err) {
		if err == nil && version == v1 {
			q.beta.Store(nil)
		}
		return data, version, err
	}
	if version == v1 {
		version = v1beta1
	} else {
		version = v1
		q.beta.Store(nil)
	}
	data, err = c.send(ctx, q, version)
	switch {
	case err == nil && version == v1beta1:
		q.beta.Store(&now)
	case isNotFound(err):
		err = fmt.Errorf("the server knows neither %s/v1 nor v1beta1, so it is no API server, or the path in its URL is wrong: %w", q.group, err)
	}
	return data, version, err
}

// preferred returns the version to ask first. When a memory of v1beta1 has
// become old, one question tries v1 and the others go on.
func (a *api) preferred(now time.Time) string {
	since := a.beta.Load()
	if since == nil || now.Sub(*since) >= betaMemory && a.beta.CompareAndSwap(since, &now) {
		return v1
	}
	return v1beta1
}

func isNotFound(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

// body encodes the question as a review object. The status is left out; the
// metadata must be there for an old API server.
func (q *question) body(version string) ([]byte, error) {
	return json.Marshal(struct {
		Kind       string   `json:"kind"`
		APIVersion string   `json:"apiVersion"`
		Metadata   struct{} `json:"metadata"`
		Spec       any      `json:"spec"`
	}{Kind: q.kind, APIVersion: q.group + "/" + version, Spec: q.spec(version)})
}

// key is the same for the same question, and tells nothing of it.
func (q *question) key() ttlcache.Key {
	body, _ := q.body(v1) // whose error is that of asking
	return sha256.Sum256(body)
}

// accessSpecV1beta1 is that of k8s.io/api authorization/v1beta1/types.go: it
// calls the groups group.
type accessSpecV1beta1 struct {
	authz.SubjectAccessReviewSpec // without Groups

	Group []string `json:"group,omitempty"`
}

func accessSpec(spec authz.SubjectAccessReviewSpec, version string) any {
	if version == v1 {
		return spec
	}
	beta := accessSpecV1beta1{spec, spec.Groups}
	beta.Groups = nil
	if spec.ResourceAttributes != nil {
		attributes := *spec.ResourceAttributes
		attributes.FieldSelector, attributes.LabelSelector = nil, nil
		beta.ResourceAttributes = &attributes
	}
	return beta
}
