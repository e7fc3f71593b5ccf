package harness

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// fenceUser is the beginning of the user name in reviews that mark a place in the audit log.
const fenceUser = "e2e-audit-fence:"

// AuditMark is a place in the audit log.
type AuditMark struct {
	offset int64
}

// Review is a TokenReview or SubjectAccessReview that the API server answered, as its audit log has it.
// The one of the two that it is not is nil. What was asked and what was answered are in the same object.
type Review struct {
	auditv1.Event
	Token  *authenticationv1.TokenReview
	Access *authorizationv1.SubjectAccessReview
}

// AuditMark returns the place in the audit log behind every review that has been answered by now.
func (c *Cluster) AuditMark(t testing.TB) AuditMark {
	t.Helper()
	_, end := c.readAudit(t, AuditMark{})
	return end
}

// ReviewsSince returns the reviews after the mark that have been answered by now, in the order of their answers.
func (c *Cluster) ReviewsSince(t testing.TB, mark AuditMark) []Review {
	t.Helper()
	events, _ := c.readAudit(t, mark)
	reviews := make([]Review, 0, len(events))
	for _, event := range events {
		review, err := newReview(event)
		if err != nil {
			t.Fatalf("audit event %s: %v", event.AuditID, err)
		}
		if review.Access == nil || !strings.HasPrefix(review.Access.Spec.User, fenceUser) {
			reviews = append(reviews, review)
		}
	}
	return reviews
}

// readAudit asks for a review that nobody else asks for, waits until the log has it, and returns the events from mark
// up to it. The API server writes an event before it sends the answer, so all earlier answers are in the log then.
func (c *Cluster) readAudit(t testing.TB, mark AuditMark) ([]auditv1.Event, AuditMark) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	fence := fenceUser + rand.Text()
	_, err := c.Admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User:                  fence,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/"},
		}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("marking a place in the audit log: %v", err)
	}

	var text []byte
	err = poll(ctx, c.apiServer.Done(), func(context.Context) error {
		content, err := os.ReadFile(c.auditLog)
		if err != nil {
			return err
		}
		at := bytes.LastIndex(content, []byte(fence))
		line := bytes.IndexByte(content[max(at, 0):], '\n')
		if at < 0 || line < 0 {
			return fmt.Errorf("the audit log does not show %s", fence)
		}
		text = content[mark.offset : at+line+1]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	events, err := parseEvents(text)
	if err != nil {
		t.Fatalf("the audit log: %v", err)
	}
	return events, AuditMark{mark.offset + int64(len(text))}
}

// parseEvents parses lines of JSON.
func parseEvents(text []byte) ([]auditv1.Event, error) {
	var events []auditv1.Event
	for line := range bytes.Lines(text) {
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	return events, nil
}

// newReview reads the object of an event: the answer, which repeats the question, or the question when
// the answer is none of the two kinds, as with a refused request.
func newReview(event auditv1.Event) (Review, error) {
	review := Review{Event: event}
	raw := event.RequestObject
	if event.ResponseStatus != nil && event.ResponseStatus.Code < 300 && event.ResponseObject != nil {
		raw = event.ResponseObject
	}
	if raw == nil || event.ObjectRef == nil {
		return review, nil
	}
	switch event.ObjectRef.Resource {
	case "tokenreviews":
		review.Token = &authenticationv1.TokenReview{}
		return review, json.Unmarshal(raw.Raw, review.Token)
	case "subjectaccessreviews":
		review.Access = &authorizationv1.SubjectAccessReview{}
		return review, json.Unmarshal(raw.Raw, review.Access)
	}
	return review, nil
}
