package kubeclient

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"kubeletauth/authn"
)

// IsUnavailable reports whether err means that the API server cannot be reached or
// is in trouble. Whatever else is wrong, such as its certificate, this server's
// own credential, or an answer that makes no sense, is none.
func IsUnavailable(err error) bool {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Code >= 500
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network.Op != "remote error" && network.Op != "local error" // those of crypto/tls
	}
	var timeout net.Error
	var exchange *url.Error
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &exchange) && isHTTP2(exchange.Err.Error()) // which has no types
}

// isHTTP2 reports whether net/http says that a connection or a stream is lost.
func isHTTP2(text string) bool {
	return strings.HasPrefix(text, "http2: ") || strings.HasPrefix(text, "stream error: ")
}

// Advice is what to do about a review that failed with err, for a line of the log:
// the attribute hint, and grant where a binding is missing, or nothing.
func Advice(err error) slog.Attr {
	var status *StatusError
	if !errors.As(err, &status) {
		return slog.Attr{}
	}
	user := refusedUser(status.Message)
	const needs = "this server's user needs a ClusterRoleBinding to the ClusterRole system:auth-delegator"
	switch {
	case status.Code == http.StatusUnauthorized:
		return slog.String("hint", "the API server does not accept this server's own credential: has it expired?")
	case status.Code != http.StatusForbidden:
		return slog.Attr{}
	case user == authn.UserAnonymous:
		return slog.String("hint", "this server has shown the API server no credential: give the kubeconfig one")
	case user != "":
		return slog.Group("", "grant", delegator(user), "hint", needs)
	}
	return slog.String("hint", needs)
}

// refusedUser returns the user whom kube-apiserver names as it refuses
// (k8s.io/apiserver pkg/endpoints/handlers/responsewriters/errors.go), or nothing
// if the name cannot stand in a line of the log as it is.
func refusedUser(message string) string {
	_, rest, _ := strings.Cut(message, " is forbidden: User ")
	quoted, _ := strconv.QuotedPrefix(rest)
	user, err := strconv.Unquote(quoted)
	unfit := func(r rune) bool { return !strconv.IsPrint(r) || r == '"' || r == '\\' }
	if err != nil || quoted[0] != '"' || strings.ContainsFunc(user, unfit) {
		return ""
	}
	return user
}

// delegator is the binding that lets user ask for reviews: YAML on one line, with
// nothing in it that a log would write in another way, to be pasted into kubectl
// apply -f -. Its name is of that user alone, so that applying it takes nothing
// from anybody.
func delegator(user string) string {
	return fmt.Sprintf("{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'kubeletauth:auth-delegator-%.4x'}, "+
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:auth-delegator'}, "+
		"subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: '%s'}]}", sha256.Sum256([]byte(user)), strings.ReplaceAll(user, "'", "''"))
}
