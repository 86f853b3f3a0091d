package deleted

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheIDOfADelete(t *testing.T) {
	for line, want := range map[string]string{
		"-namespace n -address /a -publish-binary b -id c1 -bundle /b delete":        "c1",
		"-namespace n -address /a -publish-binary b -id c1 -bundle /b -debug delete": "c1",
		"-namespace n -id c1 delete": "c1",
		"-namespace n -id c1 start":  "",
		"-namespace n delete":        "",
		"-namespace -id c1 delete":   "",
		"-namespace n -id delete":    "",
		"-namespace n -id c1":        "",
		"-id c1 delete more":         "",
		"-id=c1 delete":              "",
		"delete":                     "",
		"-info":                      "",
		"":                           "",
	} {
		if id, ok := idOf(strings.Fields(line)); id != want && ok || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", line, id, ok, want)
		}
	}
}

func TestOnlyADeadSocketIsRemoved(t *testing.T) {
	for _, test := range []struct {
		name     string
		socket   func(t *testing.T, path string)
		answered bool
		left     bool
	}{
		{"nobody listens", func(t *testing.T, path string) { listen(t, path).Close() }, true, false},
		{"somebody listens", func(t *testing.T, path string) {
			l := listen(t, path)
			t.Cleanup(func() { l.Close() })
		}, true, true},
		{"it is gone", func(*testing.T, string) {}, true, false},
		{"what can be no socket", func(t *testing.T, path string) {
			write(t, filepath.Dir(path), "address", "unix://"+strings.Repeat("x", 200))
		}, false, false},
		{"an abstract one", func(t *testing.T, path string) { write(t, filepath.Dir(path), "address", "\x00a") }, false, false},
		{"no address", func(t *testing.T, path string) {
			if err := os.Remove(filepath.Join(filepath.Dir(path), "address")); err != nil {
				t.Fatal(err)
			}
		}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bundle := t.TempDir()
			path := filepath.Join(bundle, "s")
			write(t, bundle, "address", "unix://"+path)
			write(t, bundle, File, "gone")
			test.socket(t, path)
			said, answered := ask(t, bundle)
			if answered != test.answered || answered && said != "gone" || !answered && said != "" {
				t.Errorf("answered %v with %q, want %v", answered, said, test.answered)
			}
			if _, err := os.Lstat(path); (err == nil) != test.left {
				t.Errorf("the socket is there: %v, want %v", err == nil, test.left)
			}
		})
	}
}

func TestNothingIsSaidOfWhatWasNotDeleted(t *testing.T) {
	bundle := t.TempDir()
	if said, answered := ask(t, bundle); answered || said != "" {
		t.Errorf("answered %v with %q", answered, said)
	}
	write(t, bundle, File, "")
	if said, answered := ask(t, bundle); answered || said != "" {
		t.Errorf("answered %v with %q to an empty file", answered, said)
	}
}

// ask returns what is answered for a bundle.
func ask(t *testing.T, bundle string) (string, bool) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	answered := answer(bundle, out)
	said, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(said), answered
}

// listen leaves the socket's file when the listener is closed.
func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	return l
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
