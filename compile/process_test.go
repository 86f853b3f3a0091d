package compile

import "testing"

func TestTheRuntimeThatMeetsNilHasNoMemory(t *testing.T) {
	const trace = `SIGSEGV: segmentation violation
PC=0x43329d m=7 sigcode=1 addr=0x0

goroutine 0 gp=0x18eb4df870e0 m=7 mp=0x18eb4dfb2808 [idle]:
runtime.(*spanQueue).tryDrain(0x18eb00000400?, 0x43bb85?, 0xa03dc8?)
	runtime/mgcmark_greenteagc.go:520 +0x5d`
	const other = `SIGSEGV: segmentation violation
PC=0x43329d m=7 sigcode=1 addr=0xc000123000

goroutine 0 gp=0x18eb4df870e0 m=7 mp=0x18eb4dfb2808 [idle]:
runtime.memmove(0x1, 0x2, 0x3)
	runtime/memmove_amd64.s:520 +0x5d`
	const guilty = `panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]

goroutine 1 [running]:
main.main()
	main.go:1 +0x1`
	for text, want := range map[string]bool{trace: true, other: false, guilty: false, "": false, "SIGSEGV: ": false} {
		if got := metNilInRuntime(text); got != want {
			t.Errorf("%t for %q", got, text)
		}
	}
}
