package node

import (
	"context"
	"fmt"
)

// Verify says whether the shim is installed as c wants it and containerd serves it.
// It changes nothing; the error says what is wrong.
func Verify(ctx context.Context, c Config) (r Result, _ error) {
	s, err := open(ctx, c)
	if err != nil {
		return r, err
	}
	defer s.close()
	return s.verify(ctx)
}

func (s *session) verify(ctx context.Context) (r Result, _ error) {
	p, err := readPrograms(s.Programs)
	if err != nil {
		return r, err
	}
	r = Result{Version: p.version(), Layout: s.layout.Name}
	if dir := s.currentDir(); dir == "" || !p.installed(s.host, dir) {
		return r, fmt.Errorf("the programs below %s are not those of this installer; run it with \"install\"", s.Prefix)
	}
	n, err := s.survey(ctx)
	if err != nil {
		return r, err
	}
	if len(n.ours) == 0 {
		return r, fmt.Errorf("%s does not have the runtime; run the installer with \"install\"", s.layout.Config)
	}
	r.Path = n.ours[0].path
	runtimes := runtimesOf(n.whole)
	want := runtimeTable(runtimes, s.shimPath(), s.Options)
	if !says(lookup(runtimes, s.Handler), want) {
		return r, fmt.Errorf("the runtime in %s is not as this installer writes it; run it with \"install\"", r.Path)
	}
	state, err := s.state(ctx)
	if err != nil {
		return r, err
	}
	return r, s.serves(want)(state)
}

// Recover undoes what a killed run has left and does nothing else.
func Recover(ctx context.Context, c Config) error {
	s, err := open(ctx, c)
	if err != nil {
		return err
	}
	s.close()
	return nil
}
