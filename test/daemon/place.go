package daemon

import (
	"context"
	"os"
	"path/filepath"
)

// Place is a directory for a daemon that something else than this package
// starts. Its base name names the cgroups that belong to it. When its owner is
// killed, SweepAbandoned removes it as it removes a Daemon.
type Place struct {
	Dir        string
	owner      *os.File
	releaseRun func()
}

// NewPlace makes a place. The caller calls Remove.
func NewPlace() (*Place, error) {
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return nil, err
	}
	release, err := HoldRunDirs()
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	owner, err := lockOwner(dir, os.O_CREATE)
	if err != nil {
		release()
		os.RemoveAll(dir)
		return nil, err
	}
	return &Place{Dir: dir, owner: owner, releaseRun: release}, nil
}

// Mark is the variable that all processes of the place have in their
// environment, KEY=VALUE.
func (p *Place) Mark() string { return p.daemon().Scope().Mark }

// Remove ends what still runs in the place and removes it with its cgroups.
func (p *Place) Remove(ctx context.Context) error {
	p.releaseRun()
	err := remove(ctx, p.daemon().Scope())
	p.owner.Close()
	return err
}

func (p *Place) daemon() *Daemon {
	return &Daemon{Dir: p.Dir, Namespace: filepath.Base(p.Dir)}
}
