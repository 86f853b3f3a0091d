// Package spelling finds what somebody meant who wrote a word that does not
// exist, for sentences about unknown keys and names.
package spelling

import (
	"fmt"
	"slices"

	"github.com/agext/levenshtein"
)

// maxWord bounds the comparison, whose cost grows with the square of the length.
const maxWord = 128

// Hint returns ` (did you mean "x"?)` for the known word that is nearest to the
// unknown one, or nothing when none is near.
func Hint(unknown string, known []string) string {
	if len(unknown) > maxWord {
		return ""
	}
	best, nearest := "", 0.0
	for _, word := range slices.Sorted(slices.Values(known)) {
		if likeness := levenshtein.Match(unknown, word, nil); likeness > nearest {
			best, nearest = word, likeness
		}
	}
	const near = 0.6
	if nearest < near {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}
