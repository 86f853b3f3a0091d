package timeline

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestMarksGoFromProcessToProcess(t *testing.T) {
	m := new(Marks)
	m.Add("first")
	for _, v := range m.Environment() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	next := Inherited()
	if next == nil || !slices.Equal(*next, *m) {
		t.Fatalf("inherited %v of %v", next, m)
	}
	next.Add("second")
	if all := *next; len(all) != 2 || all[1].At < all[0].At {
		t.Errorf("%v", all)
	}
	if _, ok := os.LookupEnv(Variable); ok {
		t.Error("the variable is there still")
	}
}

func TestNothingIsRecordedUnasked(t *testing.T) {
	m := Inherited()
	m.Add("a")
	if m != nil || m.Environment() != nil {
		t.Errorf("%v", m)
	}
}

func TestMarksOfSomebodyElseAreNoneOfOurs(t *testing.T) {
	t.Setenv(Variable, "yes, please")
	if m := Inherited(); m == nil || len(*m) != 0 {
		t.Errorf("%v", m)
	}
}
