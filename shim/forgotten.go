package shim

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// forgottenTime is how often a server that has never had a container looks
// whether it was forgotten.
const forgottenTime = 10 * time.Second

// endIfForgotten ends a server whose bundle was deleted before its daemon asked
// for anything: one that cannot write down what it has started, on a full disk,
// deletes the bundle and calls nobody. It stops looking with the first container,
// whose deletion the daemon follows by Shutdown.
//
// It looks now and then, instead of being told by inotify, because a user has only
// 128 instances of that, and a node more Pods.
func (s *service) endIfForgotten(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.served:
			return
		case <-time.After(forgottenTime):
		}
		if bundleDeleted() {
			_, _ = s.Shutdown(ctx, nil)
		}
	}
}

// bundleDeleted says whether the working directory has no name any more.
func bundleDeleted() bool {
	var st unix.Stat_t
	err := unix.Stat(".", &st)
	return err == nil && st.Nlink == 0 || os.IsNotExist(err)
}
