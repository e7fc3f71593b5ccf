package harness

import (
	"context"
	"fmt"
	"time"
)

// poll repeats check until it returns nil. It gives up when ctx is done, or ended is closed.
func poll(ctx context.Context, ended <-chan struct{}, check func(context.Context) error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("the program has ended; before: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}
