package sandbox

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// docs/oci-spec.md has a row for every field of the runtime specification, so
// that a new version of it cannot add one unnoticed.
func TestEveryFieldOfTheSpecIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/oci-spec.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		if strings.TrimSpace(cells[2]) == "" {
			t.Errorf("docs/oci-spec.md does not say what becomes of%s", cells[1])
		}
		first := ""
		for i, word := range strings.Split(cells[1], "`") {
			switch {
			case i%2 == 0:
				continue // between two names
			case strings.HasPrefix(word, "."):
				word = first[:strings.LastIndexByte(first, '.')] + word
			default:
				first = word
			}
			documented[word] = true
		}
	}
	fields := make(map[string]bool)
	leaves(reflect.TypeFor[specs.Spec](), "", fields)
	for f := range fields {
		if !documented[f] {
			t.Errorf("docs/oci-spec.md does not say what becomes of %s", f)
		}
		delete(documented, f)
	}
	for d := range documented {
		t.Errorf("docs/oci-spec.md has %s, which the runtime specification does not", d)
	}
}

// leaves collects the JSON paths of what has no fields of its own. The
// sections of other platforms count as one each.
func leaves(typ reflect.Type, path string, into map[string]bool) {
	switch path {
	case "solaris", "windows", "vm", "zos", "freebsd":
		into[path] = true
		return
	}
	switch typ.Kind() {
	case reflect.Pointer:
		leaves(typ.Elem(), path, into)
	case reflect.Slice:
		leaves(typ.Elem(), path+"[]", into)
	case reflect.Map:
		leaves(typ.Elem(), path+"{}", into)
	case reflect.Struct:
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				leaves(f.Type, path, into)
			case path == "":
				leaves(f.Type, name, into)
			default:
				leaves(f.Type, path+"."+name, into)
			}
		}
	default:
		into[path] = true
	}
}
