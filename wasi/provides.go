package wasi

import (
	"strings"

	"github.com/tetratelabs/wazero/api"
)

// Signature is the type of a host function.
type Signature struct {
	Params  []api.ValueType
	Results []api.ValueType
}

// String writes the signature as messages show it: (i32, i64) -> (i32).
func (s Signature) String() string {
	return "(" + typeNames(s.Params) + ") -> (" + typeNames(s.Results) + ")"
}

func typeNames(types []api.ValueType) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = api.ValueTypeName(t)
	}
	return strings.Join(names, ", ")
}

// Provides returns the signature of a function that a guest may import, and
// whether there is such a function. It costs no engine, so that a module can be
// refused before it is compiled.
func Provides(module, name string) (Signature, bool) {
	switch module {
	case Preview1:
		code, ok := preview1[name]
		return decode(code), ok
	case Env:
		f, ok := env[name]
		return decode(f.signature), ok
	}
	return Signature{}, false
}

// decode expands the compact form of the tables below: one letter per
// parameter, then a colon, then one per result.
func decode(code string) Signature {
	params, results, _ := strings.Cut(code, ":")
	return Signature{Params: valueTypes(params), Results: valueTypes(results)}
}

func valueTypes(letters string) []api.ValueType {
	types := make([]api.ValueType, len(letters))
	for i := range types {
		switch letters[i] {
		case 'i':
			types[i] = api.ValueTypeI32
		case 'I':
			types[i] = api.ValueTypeI64
		case 'F':
			types[i] = api.ValueTypeF64
		}
	}
	return types
}

// Preview1 is the import module of WASI 0.1.
const Preview1 = "wasi_snapshot_preview1"

// preview1 lists the functions of WASI preview 1 (witx of snapshot-01, and
// sock_accept, which came with wasi-libc 16). A test holds it against what the
// host behind it exports.
var preview1 = map[string]string{
	"args_get":                "ii:i",
	"args_sizes_get":          "ii:i",
	"environ_get":             "ii:i",
	"environ_sizes_get":       "ii:i",
	"clock_res_get":           "ii:i",
	"clock_time_get":          "iIi:i",
	"fd_advise":               "iIIi:i",
	"fd_allocate":             "iII:i",
	"fd_close":                "i:i",
	"fd_datasync":             "i:i",
	"fd_fdstat_get":           "ii:i",
	"fd_fdstat_set_flags":     "ii:i",
	"fd_fdstat_set_rights":    "iII:i",
	"fd_filestat_get":         "ii:i",
	"fd_filestat_set_size":    "iI:i",
	"fd_filestat_set_times":   "iIIi:i",
	"fd_pread":                "iiiIi:i",
	"fd_prestat_get":          "ii:i",
	"fd_prestat_dir_name":     "iii:i",
	"fd_pwrite":               "iiiIi:i",
	"fd_read":                 "iiii:i",
	"fd_readdir":              "iiiIi:i",
	"fd_renumber":             "ii:i",
	"fd_seek":                 "iIii:i",
	"fd_sync":                 "i:i",
	"fd_tell":                 "ii:i",
	"fd_write":                "iiii:i",
	"path_create_directory":   "iii:i",
	"path_filestat_get":       "iiiii:i",
	"path_filestat_set_times": "iiiiIIi:i",
	"path_link":               "iiiiiii:i",
	"path_open":               "iiiiiIIii:i",
	"path_readlink":           "iiiiii:i",
	"path_remove_directory":   "iii:i",
	"path_rename":             "iiiiii:i",
	"path_symlink":            "iiiii:i",
	"path_unlink_file":        "iii:i",
	"poll_oneoff":             "iiii:i",
	"proc_exit":               "i:",
	"proc_raise":              "i:i",
	"sched_yield":             ":i",
	"random_get":              "ii:i",
	"sock_accept":             "iii:i",
	"sock_recv":               "iiiiii:i",
	"sock_send":               "iiiii:i",
	"sock_shutdown":           "ii:i",
}
