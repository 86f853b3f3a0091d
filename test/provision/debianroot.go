package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// debianRoot unpacks Debian packages, with everything that they depend on, as the
// root of another machine in dir. What their installation would do there is the
// caller's, but for the merged /usr and the linker's cache.
func debianRoot(ctx context.Context, dir string, packages ...string) error {
	// On a machine that has nothing, apt would install all.
	out, err := command{
		env: []string{"LC_ALL=C"},
		args: append([]string{"apt-get", "install", "--simulate", "--no-install-recommends",
			"-oDir::State::status=/dev/null", "usr-is-merged"}, packages...),
	}.run(ctx)
	if err != nil {
		return err
	}
	var all []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Inst" {
			all = append(all, f[1])
		}
	}
	if err := unpack(ctx, dir, all...); err != nil {
		return err
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		at := filepath.Join(dir, name)
		if _, err := os.Stat(at); errors.Is(err, os.ErrNotExist) {
			continue
		}
		// os.CopyFS follows no links and keeps no modes, which programs need.
		merge := command{args: []string{"cp", "-a", at, filepath.Join(dir, "usr")}}
		if _, err := merge.run(ctx); err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(at), os.Symlink("usr/"+name, at)); err != nil {
			return err
		}
	}
	_, err = command{args: []string{"/sbin/ldconfig", "-r", dir}}.run(ctx)
	return err
}

// alternative chooses a program for a name that several packages offer, as their
// installation would. Slaves are the names that follow the choice.
func alternative(ctx context.Context, root, link, path string, slaves ...[2]string) error {
	args := []string{"chroot", root, "update-alternatives", "--quiet", "--install", link, filepath.Base(link), path, "10"}
	for _, s := range slaves {
		args = append(args, "--slave", s[0], filepath.Base(s[0]), s[1])
	}
	if _, err := (command{args: args}).run(ctx); err != nil {
		return fmt.Errorf("choose %s: %w", path, err)
	}
	return nil
}
