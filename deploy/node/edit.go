package node

import (
	"fmt"
	"path/filepath"
	"strings"
)

// How the runtime gets into containerd's configuration.
const (
	// dropIn: a file of our own that containerd, or the distribution, merges.
	dropIn = "a file of its own"
	// block: marked lines at the end of a file of others, which stays as it is.
	block = "a marked block"
	// rewrite: a file of others parsed and written anew, without its comments, for
	// one that a table at its end cannot extend. Its old text is kept beside it.
	rewrite = "a rewritten file"
)

// edit is one way to add the runtime.
type edit struct {
	kind string
	// path is the file that changes, old its text and new what it becomes.
	path, old, new string
	// backup gets the old text, unless it is "".
	backup string
	// effect is what containerd's file would be, for it to judge: the text of
	// Config, and with a drop-in a further file that it imports.
	effect, imported string
}

const (
	marker      = "containerd-shim-wasm"
	dropInName  = marker + ".toml"
	dropInNote  = "# Written by wasm-node-installer, which removes it again. Changes are lost.\n"
	dirNote     = "# Its directory was made for it.\n"
	blockBegin  = "# BEGIN " + marker + ": written by wasm-node-installer, which removes it again. Changes are lost.\n"
	blockEnd    = "# END " + marker + "\n"
	rewriteNote = "# Rewritten by wasm-node-installer, which keeps the old text in "
	versionKey  = "version = "
	backupEnd   = ".before-" + marker
	// baseTemplate is what K3s and RKE2 make of a template that says no more.
	baseTemplate = "{{ template \"base\" . }}\n"
)

// withBlock returns the text with the block at its end.
func withBlock(text, tables string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if text != "" {
		text += "\n"
	}
	return text + blockBegin + tables + blockEnd
}

// withoutBlock undoes withBlock, but for a line's end that was missing; found says
// whether there was a block. A block that is a whole file has its version, which what
// others have added to the file needs.
func withoutBlock(path, text string) (rest string, found bool, _ error) {
	before, after, ok := strings.Cut(text, blockBegin)
	if !ok {
		return text, false, nil
	}
	inside, after, ok := strings.Cut(after, blockEnd)
	if !ok || strings.Contains(inside+after, blockBegin) {
		return "", false, fmt.Errorf("%s has a line %q without its line %q; remove what the installer wrote there by hand",
			path, strings.TrimSpace(blockBegin), strings.TrimSpace(blockEnd))
	}
	if strings.HasSuffix(before, "\n\n") || before == "\n" {
		before = before[:len(before)-1]
	}
	if rest = before + after; strings.HasPrefix(inside, versionKey) && strings.TrimSpace(rest) != "" {
		first, _, _ := strings.Cut(inside, "\n")
		rest = first + "\n" + rest
	}
	return rest, true, nil
}

// dropInDir returns the directory of the first pattern by which a configuration
// imports files of any name, or "".
func dropInDir(config string, t tree) string {
	imports, _ := t["imports"].([]any)
	for _, v := range imports {
		pattern, _ := v.(string)
		if pattern == "" || filepath.Base(pattern) != "*.toml" && filepath.Base(pattern) != "*" {
			continue
		}
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(config), pattern)
		}
		if dir := filepath.Dir(pattern); !strings.ContainsAny(dir, "*?[") {
			return dir
		}
	}
	return ""
}

// rewritten sets or, with nil, removes the runtime in a parsed file.
func rewritten(path, text, handler string, set tree, note string) (string, error) {
	t, err := parseTOML(path, text)
	if err != nil {
		return "", err
	}
	version, err := schema(path, t)
	if err != nil {
		return "", err
	}
	at := t
	for _, key := range []string{"plugins", criPlugins[version], "containerd", "runtimes"} {
		next, ok := at[key]
		if !ok {
			next = tree{}
			at[key] = next
		}
		if at, ok = next.(tree); !ok {
			return "", fmt.Errorf("%s: %s is no table", path, key)
		}
	}
	if set == nil {
		delete(at, handler)
	} else {
		at[handler] = set
	}
	out, err := marshalTOML(t)
	return note + out, err
}
