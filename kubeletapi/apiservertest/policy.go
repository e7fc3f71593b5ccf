package apiservertest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"kubeletauth/authz"
)

// Rule lets its users and groups do something: a ClusterRole with one rule and
// its ClusterRoleBinding in one, with the field names and the meaning of both,
// and in the same JSON. Whatever it leaves empty matches nothing, except where
// a field says otherwise. The zero Rule allows nothing.
type Rule struct {
	Name   string   `json:"name,omitempty"` // for the reason in answers
	Users  []string `json:"users,omitempty"`
	Groups []string `json:"groups,omitempty"`

	Verbs           []string `json:"verbs,omitempty"`           // "*": every verb, the empty one included
	APIGroups       []string `json:"apiGroups,omitempty"`       // "*": all; empty: the core group, ""
	Resources       []string `json:"resources,omitempty"`       // such as "nodes/metrics"; "*": all; "*/stats": of any resource
	ResourceNames   []string `json:"resourceNames,omitempty"`   // empty: every name
	NonResourceURLs []string `json:"nonResourceURLs,omitempty"` // "*": all; "/metrics/*": all below
}

// policy answers SubjectAccessReviews as the RBAC authorizer of kube-apiserver
// does (k8s.io/kubernetes plugin/pkg/auth/authorizer/rbac/rbac.go).
type policy struct {
	mu     sync.RWMutex // guards what follows
	rules  []Rule
	decide func(authz.SubjectAccessReviewSpec) authz.SubjectAccessReviewStatus
}

// SetRules replaces all rules; without any, nothing is allowed. What
// they refer to must not be changed afterwards.
func (s *Server) SetRules(rules ...Rule) {
	s.policy.mu.Lock()
	defer s.policy.mu.Unlock()
	s.policy.rules = slices.Clone(rules)
}

// Allow adds rules to those in force. What they refer to must not be changed
// afterwards.
func (s *Server) Allow(rules ...Rule) {
	s.policy.mu.Lock()
	defer s.policy.mu.Unlock()
	s.policy.rules = append(s.policy.rules, rules...)
}

// AllowUser adds a rule that lets a user use a verb, or "*" for all, on
// subresources of every node, such as "metrics"; "" is the node itself and "*"
// is everything.
func (s *Server) AllowUser(user, verb string, subresources ...string) {
	s.Allow(Rule{Name: user, Users: []string{user}, Verbs: []string{verb}, Resources: nodeResources(subresources)})
}

// AllowGroup is AllowUser for all members of a group.
func (s *Server) AllowGroup(group, verb string, subresources ...string) {
	s.Allow(Rule{Name: group, Groups: []string{group}, Verbs: []string{verb}, Resources: nodeResources(subresources)})
}

func nodeResources(subresources []string) []string {
	var resources []string
	for _, sub := range subresources {
		if sub != "*" {
			sub = strings.TrimSuffix("nodes/"+sub, "/")
		}
		resources = append(resources, sub)
	}
	return resources
}

// SetDecide makes decide answer every SubjectAccessReview in place of the
// rules; nil returns to the rules. It is called concurrently, must not change
// the spec, and [Server.Stop] waits for it.
func (s *Server) SetDecide(decide func(authz.SubjectAccessReviewSpec) authz.SubjectAccessReviewStatus) {
	s.policy.mu.Lock()
	defer s.policy.mu.Unlock()
	s.policy.decide = decide
}

func (p *policy) review(spec authz.SubjectAccessReviewSpec) authz.SubjectAccessReviewStatus {
	p.mu.RLock()
	decide, rules := p.decide, p.rules // only ever appended to
	p.mu.RUnlock()
	if decide != nil {
		return decide(spec)
	}
	for _, rule := range rules {
		if subject := rule.subject(spec); subject != "" && rule.covers(spec) {
			return authz.SubjectAccessReviewStatus{Allowed: true, Reason: fmt.Sprintf(
				"RBAC: allowed by ClusterRoleBinding %q of ClusterRole %q to %s", rule.Name, rule.Name, subject)}
		}
	}
	return authz.SubjectAccessReviewStatus{Reason: fmt.Sprintf(
		"RBAC: no rules authorize user %q with groups %q to %s", spec.User, spec.Groups, describe(spec))}
}

// subject returns through whom the rule applies to the spec's user, in the
// words of the RBAC authorizer; empty: it does not.
func (r Rule) subject(spec authz.SubjectAccessReviewSpec) string {
	if slices.Contains(r.Users, spec.User) {
		return fmt.Sprintf("User %q", spec.User)
	}
	for _, group := range spec.Groups {
		if slices.Contains(r.Groups, group) {
			return fmt.Sprintf("Group %q", group)
		}
	}
	return ""
}

// covers is RuleAllows of rbac.go.
func (r Rule) covers(spec authz.SubjectAccessReviewSpec) bool {
	if a := spec.NonResourceAttributes; a != nil {
		return anyOrIn(r.Verbs, a.Verb) && slices.ContainsFunc(r.NonResourceURLs, func(url string) bool {
			prefix, wild := strings.CutSuffix(url, "*")
			return url == a.Path || wild && strings.HasPrefix(a.Path, prefix)
		})
	}
	a := spec.ResourceAttributes
	return anyOrIn(r.Verbs, a.Verb) &&
		(anyOrIn(r.APIGroups, a.Group) || len(r.APIGroups) == 0 && a.Group == "") &&
		(anyOrIn(r.Resources, resourceName(a)) || a.Subresource != "" && slices.Contains(r.Resources, "*/"+a.Subresource)) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.Name))
}

func anyOrIn(list []string, value string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, value)
}

func resourceName(a *authz.ResourceAttributes) string {
	return strings.TrimSuffix(a.Resource+"/"+a.Subresource, "/")
}

// describe says what is asked as the RBAC authorizer logs it.
func describe(spec authz.SubjectAccessReviewSpec) string {
	if a := spec.NonResourceAttributes; a != nil {
		return fmt.Sprintf("%q nonResourceURL %q cluster-wide", a.Verb, a.Path)
	}
	a := spec.ResourceAttributes
	resource := resourceName(a)
	if a.Group != "" {
		resource = strings.TrimSuffix(a.Resource+"."+a.Group+"/"+a.Subresource, "/")
	}
	text := fmt.Sprintf("%q resource %q", a.Verb, resource)
	if a.Name != "" {
		text += fmt.Sprintf(" named %q", a.Name)
	}
	if a.Namespace != "" {
		return text + fmt.Sprintf(" in namespace %q", a.Namespace)
	}
	return text + " cluster-wide"
}
