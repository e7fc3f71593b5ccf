package exactjson_test

import (
	"os"
	"testing"

	"kubeletauth/kubeletapi/apiservertest"
)

func TestMain(m *testing.M) { os.Exit(apiservertest.Run(m)) }
