// Package userinfo keeps many users in little room.
package userinfo

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unique"

	"kubeletauth/authn"
)

// Sum covers every field: quoted, with its keys in order, no two different users
// look the same.
func Sum(u *authn.UserInfo) [sha256.Size]byte { return sha256.Sum256(fmt.Appendf(nil, "%q", *u)) }

// Compact returns a copy of u for keeping: without spare room, with all that is
// the user's own in one piece of text, and with one copy of what many users have
// in common.
func Compact(u *authn.UserInfo) *authn.UserInfo {
	keys := slices.Sorted(maps.Keys(u.Extra))
	own := []string{u.Username, u.UID}
	for _, k := range keys {
		own = append(own, u.Extra[k]...)
	}
	text := strings.Join(own, "")
	for i, s := range own {
		own[i], text = text[:len(s)], text[len(s):]
	}
	kept := &authn.UserInfo{Username: own[0], UID: own[1], Groups: make([]string, len(u.Groups))}
	for i, group := range u.Groups {
		kept.Groups[i] = unique.Make(group).Value()
	}
	if len(keys) > 0 {
		kept.Extra = make(map[string][]string, len(keys))
	}
	values := append(make([]string, 0, len(own)-2), own[2:]...)
	for _, k := range keys {
		n := len(u.Extra[k])
		kept.Extra[unique.Make(k).Value()], values = values[:n:n], values[n:]
	}
	return kept
}
