// Package debugnames holds the names of the commands that can be executed in a
// Wasm container beside modules, and what to say of any other program. The shim
// decides by it; the commands themselves live in runner/debug, which the shim
// does not link.
package debugnames

import (
	"slices"
	"strconv"
	"strings"
)

// Names lists the commands, sorted.
func Names() []string {
	return []string{
		"cat", "date", "df", "echo", "env", "false", "head", "help", "hostname", "id", "ls", "mount",
		"printenv", "ps", "pwd", "sleep", "ss", "stat", "tail", "true", "wc",
	}
}

// Has says whether name is a command. A path never is: it means a file of the
// container.
func Has(name string) bool {
	_, found := slices.BinarySearch(Names(), name)
	return found
}

// maxName bounds what Refusal repeats of a name.
const maxName = 120

// Refusal is the sentence for a program that is neither a module nor a command.
func Refusal(name string) string {
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "") + "…"
	}
	if quoted := strconv.Quote(name); name == "" || quoted != `"`+name+`"` {
		name = quoted
	}
	reason := ": native programs cannot be executed in a Wasm container; commands that can: "
	if name == "tar" {
		reason = ": native programs cannot be executed in a Wasm container, and so kubectl cp, which needs tar, cannot work; commands that can: "
	}
	return name + reason + strings.Join(Names(), ", ")
}
