package options_test

import (
	"fmt"

	"kubeletauth/kubeletapi/options"
)

func ExampleParse() {
	o, _, err := options.Parse([]string{"--anonymous-auth=false", "--authorization-mode=Webhook", "--healthz-port=0"})
	fmt.Println(o.AnonymousAuth, o.AuthorizationMode, o.Port, o.HealthzPort, err)

	_, _, err = options.Parse([]string{"--authorization-mode=RBAC"})
	fmt.Println(err)
	// Output:
	// false Webhook 10250 0 <nil>
	// unknown authorization mode RBAC (--authorization-mode is Webhook or AlwaysAllow) (-h lists the flags)
}
