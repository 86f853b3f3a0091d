package provision

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// command is a program to run to its end. Its output is shown only when it
// fails.
type command struct {
	dir  string
	env  []string // added to this process's own
	args []string
}

// run returns the command's stdout.
func (c command) run(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(c.args, " "), err, tail(stdout.String()+stderr.String()))
	}
	return stdout.String(), nil
}

// tail keeps the end of a long output, where compilers say what went wrong.
func tail(s string) string {
	const most = 8 << 10
	s = strings.TrimSpace(s)
	if len(s) > most {
		s = "…" + s[len(s)-most:]
	}
	return s
}
