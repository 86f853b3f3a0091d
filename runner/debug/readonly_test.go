package debug

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Everything that the commands ask of the system. What is not here may write,
// create or execute; add to it only what cannot.
var allowed = map[string][]string{
	"os": {"File", "Getpagesize", "Lstat", "O_RDONLY", "Open", "OpenFile", "Readlink"},
	"golang.org/x/sys/unix": {
		"AT_FDCWD", "AT_NO_AUTOMOUNT", "AT_SYMLINK_NOFOLLOW", "ByteSliceToString", "CapUserData", "CapUserHeader", "Capget",
		"EINTR", "ENOENT", "ENOSYS", "Fstatat", "Getegid", "Geteuid", "Getgroups", "LINUX_CAPABILITY_VERSION_3", "Major", "Minor",
		"O_DIRECTORY", "O_NOCTTY", "O_NONBLOCK", "PathMax", "Readlinkat", "STATX_MNT_ID", "S_IFBLK", "S_IFCHR", "S_IFDIR",
		"S_IFIFO", "S_IFLNK", "S_IFMT", "S_IFREG", "S_IFSOCK", "S_ISGID", "S_ISUID", "S_ISVTX", "Stat_t", "Statfs", "Statfs_t",
		"Statx", "Statx_t", "Timespec", "Uname", "Utsname",
	},
	"syscall": {"Errno", "Getwd"},
}

// Packages that can do no harm and are linked into the runner anyway.
var harmless = []string{
	"bufio", "bytes", "cmp", "encoding/binary", "encoding/hex", "errors", "fmt", "io", "io/fs", "math", "slices", "sort", "strconv",
	"strings", "time", "unicode/utf8", "github.com/wasmshim/containerd-shim-wasm/internal/debugnames",
}

func TestTheSourceCanOnlyRead(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		imported := map[string]string{} // by the name in this file
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if spec.Name != nil {
				t.Errorf("%s renames %s, which hides it from this test", name, path)
			}
			if allowed[path] == nil && !slices.Contains(harmless, path) {
				t.Errorf("%s imports %s", name, path)
			}
			imported[filepath.Base(path)] = path
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok {
				path := imported[x.Name]
				if names := allowed[path]; names != nil && !slices.Contains(names, sel.Sel.Name) {
					t.Errorf("%s: %s.%s", fset.Position(sel.Pos()), x.Name, sel.Sel.Name)
				}
			}
			// Methods of *os.File that change it.
			if slices.Contains([]string{"Chmod", "Chown", "Truncate", "WriteAt", "Sync", "SyscallConn"}, sel.Sel.Name) {
				t.Errorf("%s: .%s", fset.Position(sel.Pos()), sel.Sel.Name)
			}
			return true
		})
	}
}
