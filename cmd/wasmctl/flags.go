package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves the flags among args before its operands. The flag parser
// stops at the first operand, but people write "pack app.wasm -t app:v1". What
// follows "--" stays as it is.
func flagsFirst(flags []cli.Flag, args []string) []string {
	var front, back []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return append(append(append(front, "--"), back...), args[i+1:]...)
		case len(a) < 2 || a[0] != '-':
			back = append(back, a)
		default:
			front = append(front, a)
			if takesValue(flags, a) && i+1 < len(args) {
				i++
				front = append(front, args[i])
			}
		}
	}
	return append(front, back...)
}

// takesValue reports whether the next argument belongs to the flag arg.
func takesValue(flags []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			_, boolean := f.(*cli.BoolFlag)
			return !boolean
		}
	}
	return false // unknown, or it carries its value as --flag=value
}

// pairs turns the KEY=VALUE values of a flag into a map.
func pairs(flag string, values []string) (map[string]string, error) {
	m := map[string]string{}
	for _, kv := range values {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("--%s %q is not of the form KEY=VALUE", flag, kv)
		}
		if _, ok := m[k]; ok {
			return nil, fmt.Errorf("--%s %s is given twice", flag, k)
		}
		m[k] = v
	}
	return m, nil
}
