// Package rules holds the rules of this repository as tests: what packages may
// import, that each says what it is for, how long files get.
package rules
