package debug

import "strings"

// command is one entry of help.
type command struct {
	name  string
	usage string // of the form "name [options] operands"
	about string // one line
	run   func(*call) int
}

// commands is a function and no variable, because help prints what it returns.
func commands() []command {
	return []command{
		{"cat", "cat [-n] [FILE…]", "print files, or standard input", cat},
		{"date", "date [-u] [+FORMAT]", "print the time, always UTC; FORMAT knows %Y %m %d %H %M %S %N %s %F %T %Z %z %a %b", date},
		{"df", "df [-h] [-i] [-T] [-a] [FILE…]", "print the free space of file systems", df},
		{"echo", "echo [-n] [TEXT…]", "print text", echo},
		{"env", "env", "print the environment of the container", env},
		{"false", "false", "exit with 1", func(*call) int { return 1 }},
		{"head", "head [-n LINES] [-c BYTES] [-q] [FILE…]", "print the beginning of files", head},
		{"help", "help [COMMAND]", "print what can be executed", help},
		{"hostname", "hostname", "print the host name", hostname},
		{"id", "id [-u] [-g] [-G] [-n]", "print user, groups and capabilities", id},
		{"ls", "ls [-laA1dhRnitSr] [FILE…]", "list directories", ls},
		{"mount", "mount", "print what is mounted", mount},
		{"printenv", "printenv [NAME…]", "print values of the environment", printenv},
		{"ps", "ps [-ef] [aux]", "print processes", ps},
		{"pwd", "pwd", "print the current directory", pwd},
		{"sleep", "sleep NUMBER[s|m|h|d]", "wait; NUMBER may be infinity", sleep},
		{"ss", "ss [-tulanp46]", "print TCP and UDP sockets, listening ones too (-l: only those); -p: their processes", ss},
		{"stat", "stat [-L] [-c FORMAT] FILE…", "print what is known of files", stat},
		{"tail", "tail [-n [+]LINES] [-c [+]BYTES] [-f] [-q] [FILE…]", "print the end of files; -f: and what one grows by", tail},
		{"true", "true", "exit with 0", func(*call) int { return 0 }},
		{"wc", "wc [-lwc] [FILE…]", "count lines, words and bytes", wc},
	}
}

func find(name string) *command {
	for _, cmd := range commands() {
		if cmd.name == name {
			return &cmd
		}
	}
	return nil
}

func help(c *call) int {
	_, operands, ok := c.options("", "")
	if !ok {
		return exitUsage
	}
	for _, name := range operands {
		cmd := find(name)
		if cmd == nil {
			c.complainText("no command " + printable(name))
			continue
		}
		c.print(cmd.usage, "\n", cmd.about, "\n")
	}
	if len(operands) > 0 {
		return 0
	}
	c.print("Commands that can be executed in this container, beside Wasm modules:\n\n")
	for _, cmd := range commands() {
		c.print("  ", padRight(cmd.name, 9), " ", cmd.about, "\n")
	}
	c.print("\n\"help COMMAND\" prints its options. All of them only read. There is no shell, so that\n",
		"pipes and redirections belong outside. ",
		"Native programs cannot be executed in a Wasm\ncontainer; modules can: by their path, or path#export.\n")
	return 0
}

// refuseArguments is for commands that would change something, or run a
// program, if they took arguments.
func (c *call) refuseArguments(operands []string, would string) int {
	text := "with arguments it would " + would + ", and nothing here does: " + strings.Join(operands, " ")
	return c.usageError(printable(text))
}
