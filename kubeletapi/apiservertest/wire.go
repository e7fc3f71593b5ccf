package apiservertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

const (
	// TokenReviews and SubjectAccessReviews are the resources that the server
	// knows, for [Server.Count] and [Server.Inject].
	TokenReviews         = "tokenreviews"
	SubjectAccessReviews = "subjectaccessreviews"
)

// endpoint is one resource in one version.
type endpoint struct{ group, version, resource, kind string }

func (e endpoint) apiVersion() string { return e.group + "/" + e.version }

// endpoints are all there are, keyed by path.
func endpoints() map[string]endpoint {
	all := map[string]endpoint{}
	for _, e := range []endpoint{
		{"authentication.k8s.io", "v1", TokenReviews, "TokenReview"},
		{"authentication.k8s.io", "v1beta1", TokenReviews, "TokenReview"},
		{"authorization.k8s.io", "v1", SubjectAccessReviews, "SubjectAccessReview"},
		{"authorization.k8s.io", "v1beta1", SubjectAccessReviews, "SubjectAccessReview"},
	} {
		all["/apis/"+e.apiVersion()+"/"+e.resource] = e
	}
	return all
}

// mustKnow panics on a resource that could only be a slip of the pen.
func mustKnow(resource string) {
	for _, e := range endpoints() {
		if resource == e.resource || resource == e.resource+"/"+e.version {
			return
		}
	}
	panic(fmt.Sprintf("apiservertest: unknown resource %q", resource))
}

type typeMeta struct {
	Kind       string `json:"kind,omitempty"`
	APIVersion string `json:"apiVersion,omitempty"`
}

// object is a review as it travels: a question without, an answer with a status.
// To decode one, spec and status are pointers.
type object struct {
	typeMeta
	Metadata map[string]any `json:"metadata"`
	Spec     any            `json:"spec"`
	Status   any            `json:"status"`
}

// accessSpecV1beta1 is authz.SubjectAccessReviewSpec with another name for the
// groups.
type accessSpecV1beta1 struct {
	ResourceAttributes    *authz.ResourceAttributes    `json:"resourceAttributes,omitempty"`
	NonResourceAttributes *authz.NonResourceAttributes `json:"nonResourceAttributes,omitempty"`
	User                  string                       `json:"user,omitempty"`
	Groups                []string                     `json:"group,omitempty"`
	Extra                 map[string][]string          `json:"extra,omitempty"`
	UID                   string                       `json:"uid,omitempty"`
}

// question is the spec of a review: exactly one of the two.
type question struct {
	token  *authn.TokenReviewSpec
	access *authz.SubjectAccessReviewSpec
}

// spec is that of e's version.
func (q question) spec(e endpoint) any {
	switch {
	case q.token != nil:
		return q.token
	case e.version == "v1beta1":
		return (*accessSpecV1beta1)(q.access)
	}
	return q.access
}

// decode reads a review as k8s.io/apiserver pkg/endpoints/handlers/create.go
// does: kind and version may be left out, but not be others.
func (e endpoint) decode(body []byte) (question, *status) {
	var head typeMeta
	if err := json.Unmarshal(body, &head); err != nil {
		return question{}, badRequest("the object provided is unrecognized (must be of type %s): "+
			"couldn't get version/kind; json parse error: %v", e.kind, err)
	}
	if head.Kind != "" && head.Kind != e.kind {
		return question{}, badRequest("%s in version %q cannot be handled as a %s: no kind %q is registered for version %q",
			head.Kind, e.version, e.kind, head.Kind, head.APIVersion)
	}
	if head.APIVersion != "" && head.APIVersion != e.apiVersion() {
		return question{}, badRequest("the API version in the data (%s) does not match the expected API version (%s)",
			head.APIVersion, e.apiVersion())
	}
	q, o := question{access: new(authz.SubjectAccessReviewSpec)}, object{Status: new(authz.SubjectAccessReviewStatus)}
	if e.resource == TokenReviews {
		q, o = question{token: new(authn.TokenReviewSpec)}, object{Status: new(authn.TokenReviewStatus)}
	}
	o.Spec = q.spec(e)
	if err := json.Unmarshal(body, &o); err != nil {
		return question{}, badRequest("%s in version %q cannot be handled as a %s: %v", e.kind, e.version, e.kind, err)
	}
	if q.access != nil {
		return q, validateAccess(*q.access, o.Metadata)
	}
	if q.token.Token == "" {
		return q, badRequest("token is required for TokenReview in authentication")
	}
	return q, nil
}

// validateAccess is ValidateSubjectAccessReview of k8s.io/kubernetes
// pkg/apis/authorization/validation/validation.go, selectors excepted.
func validateAccess(spec authz.SubjectAccessReviewSpec, metadata map[string]any) *status {
	var causes []cause
	var texts []string
	invalid := func(field string, value any, detail string) {
		text, _ := json.Marshal(value) // decoded from JSON, so it encodes
		c := cause{"FieldValueInvalid", fmt.Sprintf("Invalid value: %s: %s", text, detail), field}
		causes, texts = append(causes, c), append(texts, field+": "+c.Message)
	}
	if (spec.ResourceAttributes == nil) == (spec.NonResourceAttributes == nil) {
		invalid("spec", spec.NonResourceAttributes, "exactly one of nonResourceAttributes or resourceAttributes must be specified")
	}
	if spec.User == "" && len(spec.Groups) == 0 {
		invalid("spec.user", spec.User, "at least one of user or group must be specified")
	}
	for _, value := range metadata {
		if value != nil {
			invalid("metadata", metadata, "must be empty")
			break
		}
	}
	if causes == nil {
		return nil
	}
	text := strings.Join(texts, ", ")
	if len(texts) > 1 {
		text = "[" + text + "]"
	}
	s := failure(http.StatusUnprocessableEntity, "Invalid", `SubjectAccessReview.authorization.k8s.io "" is invalid: `+text)
	s.Details = &details{Group: "authorization.k8s.io", Kind: "SubjectAccessReview", Causes: causes}
	return s
}

// encode never fails: nothing here holds a value that JSON has no form for.
func encode(v any) []byte {
	text, _ := json.Marshal(v)
	return append(text, '\n')
}

// status is a metav1.Status that reports a failure.
type status struct {
	typeMeta
	Metadata struct{} `json:"metadata"`
	Status   string   `json:"status"`
	Message  string   `json:"message,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Details  *details `json:"details,omitempty"`
	Code     int      `json:"code"`
}

type details struct {
	Group  string  `json:"group,omitempty"`
	Kind   string  `json:"kind,omitempty"`
	Causes []cause `json:"causes,omitempty"`
}

type cause struct {
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Field   string `json:"field,omitempty"`
}

func failure(code int, reason, message string) *status {
	return &status{typeMeta: typeMeta{"Status", "v1"}, Status: "Failure", Message: message, Reason: reason, Code: code}
}

func badRequest(format string, args ...any) *status {
	return failure(http.StatusBadRequest, "BadRequest", fmt.Sprintf(format, args...))
}

// generic is the Status of a code without more to say (NewGenericServerResponse
// of k8s.io/apimachinery pkg/api/errors/errors.go), and for 403 what RBAC says
// to a client that lacks the role.
func generic(code int, e endpoint) *status {
	texts := map[int][2]string{
		400: {"BadRequest", "the server rejected our request for an unknown reason"},
		401: {"Unauthorized", "Unauthorized"},
		403: {"Forbidden", fmt.Sprintf("%s.%s is forbidden: User %q cannot create resource %q in API group %q at the cluster scope",
			e.resource, e.group, "apiservertest-client", e.resource, e.group)},
		404: {"NotFound", "the server could not find the requested resource"},
		405: {"MethodNotAllowed", "the server does not allow this method on the requested resource"},
		409: {"AlreadyExists", "the server reported a conflict"},
		429: {"TooManyRequests", "the server has received too many requests and has asked us to try again later"},
		503: {"ServiceUnavailable", "the server is currently unable to handle the request"},
		504: {"Timeout", "the server was unable to return a response in the time allotted, but may still be processing the request"},
	}
	text, ok := texts[code]
	if !ok && code >= 500 {
		text = [2]string{"InternalError", fmt.Sprintf("an error on the server (%q) has prevented the request from succeeding", http.StatusText(code))}
	} else if !ok {
		text[1] = fmt.Sprintf("the server responded with the status code %d but did not return more information", code)
	}
	s := failure(code, text[0], text[1])
	if code != http.StatusUnauthorized {
		s.Details = &details{}
	}
	return s
}
