package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"time"
)

// leastRounds are made however long they take: less has no median to speak of.
const leastRounds = 3

// rounds numbers the rounds of a measurement, until there were enough or its time is
// over, and tells how far it is.
func (b *bench) rounds(what string, most int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range most {
			if i >= leastRounds && time.Since(b.began) > b.most {
				fmt.Fprintf(os.Stderr, "\n")
				return
			}
			if !yield(i) {
				fmt.Fprintf(os.Stderr, "\n")
				return
			}
			progress(what, i+1, most)
		}
	}
}

// whole returns a context for work that an interrupt lets come to its end, unless it
// has not begun: who gives a Create call up does not learn whether there is a
// container. It ends after a minute, so that a hang is an error.
func whole(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	return ctx, cancel, nil
}

// waitFor waits for that time to pass, since it is the time itself that is measured.
func waitFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// progress says on stderr how far a measurement is.
func progress(what string, done, all int) {
	end := ""
	if done == all {
		end = "\n"
	}
	fmt.Fprintf(os.Stderr, "\r%s: round %d of %d%s", what, done, all, end)
}
