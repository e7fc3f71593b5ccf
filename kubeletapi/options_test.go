package kubeletapi_test

import (
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/options"
)

func init() {
	kubeletapi.ParseOptions = func(args []string) (kubeletapi.Config, []string, error) {
		o, ignored, err := options.Parse(args)
		return o.Config, ignored, err
	}
}
