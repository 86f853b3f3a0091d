package main

import (
	"slices"
	"testing"
	"time"
)

func TestBarsStayInTheirGroups(t *testing.T) {
	figure := func(contenders ...string) *figure {
		f := newFigure("first", "case", toFirst, "ms", contenders...)
		for i := range contenders {
			for _, sample := range []float64{1, 2, 3} {
				f.add(i, sample*float64(i+1))
			}
		}
		return f
	}
	var d drawing
	d.addGroup("a", figure(wasm))
	d.addGroup("b", figure(wasm, native))
	d.addGroup("c", figure(wasm))
	d.addGroup("d", figure(native))
	if !slices.Equal(d.Groups, []string{"a", "b", "c", "d"}) || len(d.Series) != 2 {
		t.Fatalf("%+v", d)
	}
	for i, want := range [][]float64{{2, 2, 2}, {0, 4, 0, 2}} {
		if s := d.Series[i]; !slices.Equal(s.Y, want) || len(s.Low) != len(want) || len(s.High) != len(want) {
			t.Errorf("%s: %+v, want %v", s.Name, s, want)
		}
	}
}

func TestRoundsEndWithTheirTimeButNotBeforeThree(t *testing.T) {
	for _, c := range []struct {
		began      time.Time
		most, want int
	}{
		{time.Now(), 7, 7},
		{time.Now().Add(-time.Hour), 7, leastRounds},
		{time.Now().Add(-time.Hour), 2, 2},
	} {
		b := &bench{began: c.began, most: time.Minute}
		n := 0
		for i := range b.rounds("test", c.most) {
			if i != n {
				t.Errorf("round %d has the number %d", n, i)
			}
			n++
		}
		if n != c.want {
			t.Errorf("%d of %d rounds, want %d", n, c.most, c.want)
		}
	}
}
