package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// PodSource knows the pods of a node.
type PodSource interface {
	// Pods returns each pod as the JSON of a v1 Pod. It must return when ctx
	// ends: after 10 seconds, or when the client leaves. An error, or a pod that
	// is not JSON, is logged and makes the answer 500.
	Pods(ctx context.Context) ([]json.RawMessage, error)
}

// pods answers with a v1 PodList. Without pods its items are [], where the
// kubelet's are null (encodePods of pkg/kubelet/server/server.go).
func (a API) pods(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	pods, err := []json.RawMessage{}, error(nil)
	if a.Pods != nil {
		pods, err = a.Pods.Pods(ctx)
	}
	items, invalid := json.Marshal(append([]json.RawMessage{}, pods...))
	body := fmt.Appendf(nil, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":%s}`+"\n", items)
	a.answer(w, r, "application/json", body, cmp.Or(err, invalid))
}
