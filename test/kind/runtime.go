package kind

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// BecomeRuntime is to be called first of all: where this program was started as an
// OCI runtime, it becomes runc and does not return. Before that it takes from the
// container what needs CAP_SYS_RESOURCE, which runc would fail to give.
func BecomeRuntime() {
	if filepath.Base(os.Args[0]) != runtimeName {
		return
	}
	err := becomeRunc()
	fmt.Fprintln(os.Stderr, runtimeName+":", err)
	os.Exit(1)
}

func becomeRunc() error {
	for i, arg := range os.Args[:len(os.Args)-1] {
		var err error
		switch value := os.Args[i+1]; arg {
		case "--bundle", "-b": // of create
			err = edit(filepath.Join(value, "config.json"), func(spec map[string]any) {
				if process, ok := spec["process"].(map[string]any); ok {
					limit(process)
				}
			})
		case "--process", "-p": // of exec
			err = edit(value, limit)
		}
		if err != nil {
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	return syscall.Exec(runc, append([]string{"runc"}, os.Args[1:]...), os.Environ())
}

// limit edits the process of an OCI specification.
func limit(process map[string]any) {
	delete(process, "rlimits")
	if score, ok := process["oomScoreAdj"].(float64); ok && score < 0 {
		process["oomScoreAdj"] = 0
	}
	sets, _ := process["capabilities"].(map[string]any)
	for name, set := range sets {
		if list, ok := set.([]any); ok {
			sets[name] = slices.DeleteFunc(list, func(c any) bool { return c == "CAP_SYS_RESOURCE" })
		}
	}
}

func edit(file string, change func(map[string]any)) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var object map[string]any
	if err := json.Unmarshal(b, &object); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	change(object)
	if b, err = json.Marshal(object); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0)
}
