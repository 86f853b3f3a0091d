package node

import (
	"strings"
	"testing"
)

func TestBlocksComeAndGo(t *testing.T) {
	tables, err := writeRuntime(2, "wasm", runtimeTable(nil, "/opt/shim", tree{"MaxFiles": int64(7)}))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "version = 2\n", "# only a comment", "version = 2\n\n\n", "[grpc]\naddress = \"x\"\n"} {
		with := withBlock(text, tables)
		parsed, err := parseTOML("test", with)
		if err != nil {
			t.Fatalf("%v\n%s", err, with)
		}
		if r := runtimesOf(parsed); r["wasm"].(tree)["runtime_path"] != "/opt/shim" {
			t.Errorf("%v", r)
		}
		rest, found, err := withoutBlock("test", with)
		if want := text; err != nil || !found || rest != want && rest != want+"\n" {
			t.Errorf("%q comes back as %q, %v", text, rest, err)
		}
		// What others write behind it stays.
		if rest, _, _ = withoutBlock("test", with+"[debug]\n"); !strings.HasSuffix(rest, "[debug]\n") || strings.Contains(rest, marker) {
			t.Errorf("with a table behind it: %q", rest)
		}
	}
	for _, text := range []string{blockBegin, blockBegin + "\n" + blockBegin + blockEnd} {
		if _, _, err := withoutBlock("test", text); err == nil {
			t.Errorf("%q is taken for a block", text)
		}
	}
}

func TestDropInDirIsThatOfAnyFilesName(t *testing.T) {
	for want, imports := range map[string][]any{
		"":          {"/etc/x.toml", "/etc/*/x.toml", "/etc/*/*.toml", 3, ""},
		"/etc/d":    {"/etc/x.toml", "/etc/d/*.toml", "/etc/e/*"},
		"/etc/e":    {"/etc/e/*"},
		"/config/r": {"r/*.toml"},
	} {
		if got := dropInDir("/config/config.toml", tree{"imports": imports}); got != want {
			t.Errorf("%v: %q, want %q", imports, got, want)
		}
	}
}

func TestForeignChangeIsNamed(t *testing.T) {
	whole := func(text string) tree {
		t.Helper()
		tr, err := parseTOML("test", text)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	const base = "root = 'a'\n[plugins.'io.containerd.grpc.v1.cri']\nx = 1\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\ny = 2\n"
	const ours = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.wasm]\nz = 3\n"
	for after, want := range map[string]string{
		base + ours:                                       "",
		"imports = ['q']\n" + base + ours:                 "",
		strings.Replace(base, "'a'", "'b'", 1) + ours:     "root",
		strings.Replace(base, "x = 1", "x = 2", 1) + ours: "plugins.io.containerd.grpc.v1.cri.x",
		strings.Replace(base, "y = 2", "y = [2]", 1):      "plugins.io.containerd.grpc.v1.cri.containerd.runtimes.runc.y",
		base + "empty = []\n" + ours:                      "",
		base + "w = 'new'\n" + ours:                       "plugins.io.containerd.grpc.v1.cri.containerd.runtimes.runc.w",
		base + "[debug]\nlevel = 'x'\n":                   "debug",
	} {
		if got := foreignChange(whole(base), whole(after), "wasm"); got != want {
			t.Errorf("%q, want %q, after\n%s", got, want, after)
		}
	}
}

func TestOptionsFromTheCommandLine(t *testing.T) {
	for s, want := range map[string]any{"MaxFiles=64": int64(64), "Landlock=false": false, "MemoryLimit=1Gi": "1Gi", "Preopens=/a,/b=c": "/a,/b=c", "Drain=": ""} {
		_, got, err := ParseOption(s)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "=x", "MaxFiles"} {
		if _, _, err := ParseOption(s); err == nil {
			t.Errorf("%q is an option", s)
		}
	}
}
