package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const rbacSynopsis = `Usage: server rbac [flags]

Prints the roles that a cluster needs, as YAML to apply: the server may ask the
API server, the API server may do everything on the nodes, and a scraper may
read what it scrapes. A subject that is given as empty is left out.

Flags:
`

const rbacExample = `
Examples:
  server rbac | kubectl apply -f -
  server rbac --user=edge-agent --apiserver-user= --scraper-subresources=metrics,stats
`

// The subresources of a node that requests ask for, without the feature gate and
// with it alone (attributes.go of package kubeletapi).
var (
	classicSubresources     = [...]string{"proxy", "stats", "log", "spec", "metrics"}
	fineGrainedSubresources = [...]string{"checkpoint", "statusz", "configz", "healthz", "pods"}
)

// roles is what the flags say.
type roles struct {
	name                       string
	server, apiServer, scraper subject // the second has no service account
	scraperSubresources        string
	fineGrained                bool
}

func (r *roles) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("rbac", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&r.name, "name", "kubeletauth", "what the names of all roles and bindings begin with")
	flags.StringVar(&r.server.user, "user", "", "user that the server is to the API server, in place of a service account")
	flags.StringVar(&r.server.account, "service-account", "kubeletauth", "service account that the server is to the API server")
	flags.StringVar(&r.server.namespace, "namespace", "kube-system", "namespace of --service-account")
	flags.StringVar(&r.apiServer.user, "apiserver-user", "kube-apiserver-kubelet-client", "common name of the API server's --kubelet-client-certificate")
	flags.StringVar(&r.scraper.user, "scraper-user", "", "user that scrapes, in place of a service account")
	flags.StringVar(&r.scraper.account, "scraper-service-account", "prometheus", "service account that scrapes")
	flags.StringVar(&r.scraper.namespace, "scraper-namespace", "monitoring", "namespace of --scraper-service-account")
	flags.StringVar(&r.scraperSubresources, "scraper-subresources", "metrics", "what the scraper may get of a node, separated by commas: metrics, stats, spec, log, and with --fine-grained pods, healthz, configz, statusz, checkpoint")
	flags.BoolVar(&r.fineGrained, "fine-grained", false, "the servers run with --feature-gates=KubeletFineGrainedAuthz=true")
	return flags
}

// rbacCommand prints the roles that args describe and returns the exit code: 2 for a
// mistake in args, and 1 if stdout cannot be written to.
func rbacCommand(_ context.Context, args []string, stdout, stderr io.Writer) int {
	var r roles
	flags := r.flags()
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, rbacSynopsis)
		printFlags(stdout, flags)
		fmt.Fprint(stdout, rbacExample)
		return 0
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() != "" })
	for _, who := range []string{"", "scraper-"} {
		if err == nil && given[who+"user"] && given[who+"service-account"] {
			err = fmt.Errorf("--%suser and --%[1]sservice-account: give one of them", who)
		}
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		fmt.Fprintf(stderr, "server rbac: %v (-h lists the flags)\n", err)
		return 2
	}
	if _, err := io.WriteString(stdout, r.yaml()); err != nil {
		fmt.Fprintln(stderr, "server rbac:", err)
		return 1
	}
	return 0
}

// printFlags is the form of the server's own help.
func printFlags(w io.Writer, flags *flag.FlagSet) {
	flags.VisitAll(func(f *flag.Flag) {
		kind := "string"
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
			kind = "true|false"
		}
		if f.DefValue != "" {
			kind += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %s%s %s\n        %s\n", either(len(f.Name) == 1, "-", "--"), f.Name, kind, f.Usage)
	})
}

// check refuses what the API server would, and a grant that says more than it
// seems to.
func (r *roles) check() error {
	if r.name == "" || strings.ContainsAny(r.name, "/%") || !utf8.ValidString(r.name) {
		return fmt.Errorf("--name %q: must not be empty, nor have a slash or percent sign", r.name)
	}
	if r.yaml() == "" {
		return errors.New("every subject is empty: name one with --service-account, --apiserver-user or --scraper-service-account")
	}
	return cmp.Or(r.server.check(""), r.apiServer.check("apiserver-"), r.scraper.check("scraper-"), r.checkSubresources())
}

// subject is a user, or a service account if there is no user, or nobody.
type subject struct{ user, account, namespace string }

// check has the rules for names of k8s.io/apimachinery pkg/util/validation: a
// subdomain for a service account, and a label for its namespace.
func (s subject) check(prefix string) error {
	const form = "must be of lower-case letters, digits and dashes, with none of those at an end"
	label := regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	subdomain := regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	switch {
	case !utf8.ValidString(s.user):
		return fmt.Errorf("--%suser %q: must be UTF-8", prefix, s.user)
	case s.account == "":
	case len(s.account) > 253 || !subdomain.MatchString(s.account):
		return fmt.Errorf("--%sservice-account %q: %s, or several such with dots between (a user has --%[1]suser)", prefix, s.account, form)
	case !label.MatchString(s.namespace):
		return fmt.Errorf("--%snamespace %q: %s, and of 63 characters at most", prefix, s.namespace, form)
	}
	return nil
}

func (r *roles) checkSubresources() error {
	for _, sub := range strings.Split(r.scraperSubresources, ",") {
		switch {
		case sub == "proxy":
			return errors.New("--scraper-subresources: whoever may get nodes/proxy may run commands on a kubelet; name what is scraped, with --fine-grained also pods, healthz and configz")
		case slices.Contains(classicSubresources[:], sub):
		case !slices.Contains(fineGrainedSubresources[:], sub):
			return fmt.Errorf("--scraper-subresources: unknown subresource %q (there are metrics, stats, spec and log, and some more with --fine-grained)", sub)
		case !r.fineGrained:
			return fmt.Errorf("--scraper-subresources: %s needs --fine-grained, and servers that run with the feature gate", sub)
		}
	}
	return nil
}

// yaml is a document for each role and each binding.
func (r *roles) yaml() string {
	var documents []string
	if s := r.server.yaml(); s != "" {
		documents = append(documents, "# The server may create TokenReviews and SubjectAccessReviews.\n"+
			binding(r.server.named(r.name+":auth-delegator"), "system:auth-delegator", s))
	}
	if s := r.apiServer.yaml(); s != "" {
		subresources := classicSubresources[:]
		if r.fineGrained {
			subresources = slices.Concat(subresources, fineGrainedSubresources[:])
		}
		name := r.apiServer.named(r.name + ":api-server")
		documents = append(documents, "# The API server may do everything on the nodes.\n"+role(name, "*", subresources), binding(name, name, s))
	}
	if s := r.scraper.yaml(); s != "" {
		name := r.scraper.named(r.name + ":scraper")
		documents = append(documents, "# The scraper may read what it scrapes.\n"+role(name, "get", strings.Split(r.scraperSubresources, ",")), binding(name, name, s))
	}
	return strings.Join(documents, "---\n")
}

// named makes a name that is of this subject alone, so that what is applied for
// another does not take its place.
func (s subject) named(prefix string) string {
	user := cmp.Or(s.user, "system:serviceaccount:"+s.namespace+":"+s.account)
	if regexp.MustCompile(`^[-\w.:@]{1,200}$`).MatchString(user) {
		return prefix + ":" + user
	}
	return named(prefix, user)
}

// yaml is what a binding has of the subject, or empty for nobody.
func (s subject) yaml() string {
	switch {
	case s.user != "":
		return "- apiGroup: rbac.authorization.k8s.io\n  kind: User\n  name: " + quoted(s.user) + "\n"
	case s.account != "":
		return "- kind: ServiceAccount\n  name: " + quoted(s.account) + "\n  namespace: " + quoted(s.namespace) + "\n"
	}
	return ""
}

func role(name, verb string, subresources []string) string {
	text := head("ClusterRole", name) + "rules:\n- apiGroups: [\"\"]\n  resources:\n"
	for _, sub := range subresources {
		text += "  - nodes/" + sub + "\n"
	}
	return text + "  verbs: [" + quoted(verb) + "]\n"
}

func binding(name, role, subject string) string {
	return head("ClusterRoleBinding", name) +
		"roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: " + quoted(role) + "\nsubjects:\n" + subject
}

func head(kind, name string) string {
	return "apiVersion: rbac.authorization.k8s.io/v1\nkind: " + kind + "\nmetadata:\n  name: " + quoted(name) + "\n"
}

// quoted is a string of JSON, and so of YAML, which forbids some signs that JSON
// does not.
func quoted(s string) string {
	text, _ := json.Marshal(s) // a string never fails
	return printable(string(text))
}
