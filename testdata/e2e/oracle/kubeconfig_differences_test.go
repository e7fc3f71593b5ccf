package oracle

import "strings"

// kubeconfigDifferences are what the two clients do not do in the same way; each is in the README's table of differences.
// The first that applies names a case.
var kubeconfigDifferences = []struct {
	name    string
	applies func(k generated, kubernetes, ours sight) bool
}{
	{"impersonation is refused", refused(func(k generated) bool { return k.text("as") != "" })},
	{"a user that does not exist is refused", refused(func(k generated) bool { return k.contextUser() == "none" })},
	{"a key without a certificate is refused", refused(func(k generated) bool { return k.has("client-key") && !k.has("client-certificate") })},
	{"a password beside a tokenFile is refused", refused(func(k generated) bool {
		return k.text("tokenFile") != "" && (k.text("username") != "" || k.text("password") != "")
	})},
	{"a token of several lines is refused", refused(func(k generated) bool { return strings.Contains(k.text("token"), "\n") })},
	{"an encoded slash in the path of the server stays one", differently(func(k generated, kubernetes, ours seen) bool {
		return strings.Contains(k.server(), "%2f") && strings.ReplaceAll(ours.Path, "%2f", "/") == kubernetes.Path
	})},
	{"data of a user that is not used is not looked at", func(k generated, kubernetes, ours sight) bool {
		return ours.Seen != nil && k.contextUser() == "" && strings.Contains(kubernetes.err.Error(), "illegal base64 data")
	}},
}

// difference names the reason of a difference, or is empty.
func (k generated) difference(kubernetes, ours sight) string {
	for _, each := range kubeconfigDifferences {
		if each.applies(k, kubernetes, ours) {
			return each.name
		}
	}
	return ""
}

// refused is about what only client-go takes.
func refused(is func(generated) bool) func(generated, sight, sight) bool {
	return func(k generated, kubernetes, ours sight) bool {
		return kubernetes.Seen != nil && ours.Seen == nil && is(k)
	}
}

// differently is about what both take.
func differently(is func(k generated, kubernetes, ours seen) bool) func(generated, sight, sight) bool {
	return func(k generated, kubernetes, ours sight) bool {
		return kubernetes.Seen != nil && ours.Seen != nil && is(k, *kubernetes.Seen, *ours.Seen)
	}
}

// server is the URL of the API server.
func (k generated) server() string {
	server, _ := k.cluster["server"].(string)
	return server
}

// text is a field of the user, or empty.
func (k generated) text(name string) string {
	value, _ := k.user[name].(string)
	return value
}

// has says whether the user has a field or the one with data in its place.
func (k generated) has(name string) bool {
	return k.text(name) != "" || k.user[name+"-data"] != nil
}

// contextUser is the user that the context names.
func (k generated) contextUser() string {
	context := k.object["contexts"].([]any)[0].(map[string]any)["context"].(map[string]any)
	return context["user"].(string)
}
