package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// unpack reads a cpio archive: name to mode and content.
func unpack(t *testing.T, b []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	padded := func(n int) int { return (n + 3) &^ 3 }
	for {
		if len(b) < 110 || string(b[:6]) != "070701" {
			t.Fatalf("no header at %q", b[:min(6, len(b))])
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		size, nameSize := field(6), field(11)
		name := string(b[110 : 110+nameSize-1])
		content := padded(110 + nameSize)
		if name == "TRAILER!!!" {
			return all
		}
		all[name] = strconv.FormatInt(int64(field(1)), 8) + " " + string(b[content:content+size])
		b = b[padded(content+size):]
	}
}

func TestAnImageHasItsFilesAndTheirParents(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "five"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	im := newImage(&b)
	im.text("/init", "#!/bin/sh\n", 0o755)
	im.tree("/a/b", dir)
	im.directory("a")
	if err := im.close(); err != nil {
		t.Fatal(err)
	}
	got := unpack(t, b.Bytes())
	for name, want := range map[string]string{
		"init": "100755 #!/bin/sh\n", "a": "40755 ", "a/b": "40755 ", "a/b/five": "100600 12345",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("more: %v", got)
	}
}

func TestAFileThatIsTwiceInAnImageIsAnError(t *testing.T) {
	im := newImage(&bytes.Buffer{})
	im.text("/a", "1", 0o644)
	im.text("a", "2", 0o644)
	if err := im.close(); err == nil {
		t.Error("the second replaced the first")
	}
}

func TestProgramsBringTheirLibraries(t *testing.T) {
	program, err := exec.LookPath("ls")
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := librariesOf(program)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range libraries {
		names = append(names, l.name)
	}
	if all := strings.Join(names, " "); !strings.Contains(all, "/ld-linux") || !strings.Contains(all, "/libc.so") {
		t.Errorf("libraries of %s: %v", program, names)
	}
}
