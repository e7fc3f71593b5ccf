package kubeclient

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestVersion(t *testing.T) {
	w := newWorld(t)
	c := w.tokenClient()
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		code       int
		body, want string // the version, or what the error says
	}{
		{200, `{"major":"1","gitVersion":"v1.37.2"}`, "v1.37.2"},
		{200, `{"gitVersion":"v1\u001b[31m\n"}`, "v1 [31m"},
		{200, `{"gitVersion":""}`, "no gitVersion"},
		{200, `{"gitVersion":1}`, "no gitVersion"},
		{200, ``, "no gitVersion"},
		{200, `{"gitVersion":"` + strings.Repeat("x", 1<<20) + `"}`, "no gitVersion"},
		{302, `{"gitVersion":"v1"}`, "302"},
		{401, ourToken, "401"},
		{404, ``, "404 to GET " + w.URL + "/version"},
	} {
		w.setAnswer(func(_ int, _ seen, rw http.ResponseWriter) {
			rw.Header().Set("Date", date.Format(http.TimeFormat))
			rw.Header().Set("Location", "/elsewhere")
			send(rw, tt.code, tt.body)
		})
		version, at, err := c.Version(t.Context())
		if strings.HasPrefix(tt.want, "v1") && (err != nil || version != tt.want) {
			t.Errorf("%d %.40s: %q, %v, want %q", tt.code, tt.body, version, err, tt.want)
		} else if !strings.HasPrefix(tt.want, "v1") {
			mustFail(t, err, tt.want)
		}
		if !at.Equal(date) {
			t.Errorf("%d %.40s: date %v, want %v", tt.code, tt.body, at, date)
		}
		if got := w.arrived(); len(got) != 1 || got[0].method != "GET" || got[0].path != "/version" || got[0].authorization != "Bearer "+ourToken {
			t.Errorf("%d %.40s: the server was asked %+v", tt.code, tt.body, got)
		}
	}
}

func TestVersionWithoutAnswer(t *testing.T) {
	w := newWorld(t)
	w.setAnswer(func(_ int, _ seen, rw http.ResponseWriter) {
		rw.Header()["Date"] = nil
		send(rw, 200, `{"gitVersion":"v1"}`)
	})
	if version, at, err := w.tokenClient().Version(t.Context()); version != "v1" || !at.IsZero() || err != nil {
		t.Errorf("without a Date: %q, %v, %v", version, at, err)
	}
	w.Server.Close()
	_, at, err := w.tokenClient().Version(t.Context())
	mustFail(t, err, "refused")
	mustFail(t, err, "Get ")
	if !at.IsZero() {
		t.Errorf("nobody's date: %v", at)
	}
	_, _, err = new(Client).Version(t.Context())
	mustFail(t, err, "New")
}
