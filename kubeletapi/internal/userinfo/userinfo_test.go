package userinfo

import (
	"reflect"
	"strings"
	"testing"

	"kubeletauth/authn"
)

// Two users share decisions exactly if they are equal in all that is asked
// about, and what is kept of a user is that user.
func FuzzUserKey(f *testing.F) {
	f.Add("jane;7;dev,ops;a=b,c", "jane;7;dev;ops")
	f.Add("jane;;dev,ops", "jane;;dev,;ops")
	f.Add("a;b;;k=v", "a;b;k;v")
	f.Add("a;b;c;k=;l=v", "a;b;c;k=l,v")
	f.Add("a;b;c;k=x;l=y", "a;b;c;l=y;k=x")
	f.Fuzz(func(t *testing.T, first, second string) {
		a, b := userOfText(first), userOfText(second)
		if equal := reflect.DeepEqual(a, b); equal != (Sum(a) == Sum(b)) {
			t.Fatalf("%+v and %+v: equal is %t, and their keys say otherwise", a, b, equal)
		}
		if kept := Compact(a); !reflect.DeepEqual(kept, a) {
			t.Fatalf("%+v is kept as %+v", a, kept)
		}
	})
}

// userOfText reads name;uid;group,group;key=value,value;key=value.
func userOfText(text string) *authn.UserInfo {
	parts := append(strings.Split(text, ";"), "", "")
	u := &authn.UserInfo{Username: parts[0], UID: parts[1], Groups: []string{}}
	if parts[2] != "" {
		u.Groups = strings.Split(parts[2], ",")
	}
	for _, part := range parts[3:] {
		if key, values, ok := strings.Cut(part, "="); ok {
			if u.Extra == nil {
				u.Extra = map[string][]string{}
			}
			u.Extra[key] = strings.Split(values, ",")
		}
	}
	return u
}
