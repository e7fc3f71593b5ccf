package decisionlog_test

import (
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/decisionlog"
)

// One line for each request to the standard output.
func Example() {
	log, err := decisionlog.Open(decisionlog.Config{Path: "-"})
	if err != nil {
		panic(err)
	}
	log.LogEvent(kubeletapi.Event{ID: "1", Stage: kubeletapi.StageComplete, Remote: "192.0.2.7:4711", Method: "GET", Path: "/metrics", User: "jane", AuthenticatedBy: "token", Decision: "allow", Status: 200})
	log.Close()
	// Output:
	// {"time":"0001-01-01T00:00:00Z","id":"1","stage":"ResponseComplete","remote":"192.0.2.7:4711","method":"GET","path":"/metrics","user":"jane","authenticatedBy":"token","decision":"allow","authenticationNanoseconds":0,"authorizationNanoseconds":0,"status":200,"nanoseconds":0}
}
