package cgroup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/containerd/cgroups/v3/cgroup2"
)

// jobTime bounds what systemd may take for a job, as in runc.
const jobTime = 30 * time.Second

// systemdRuns reports whether systemd is init (sd_booted(3)) and answers. A
// container that has /run/systemd mounted but no bus gets plain directories.
func systemdRuns() bool {
	if st, err := os.Lstat("/run/systemd/system"); err != nil || !st.IsDir() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	conn, err := systemd.NewWithContext(ctx)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// startScope starts the transient scope of t with one process in it.
// cgroup2.NewSystemd is not used: it puts every scope into system.slice.
func startScope(t target, l *limits, pid int, v2 bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	conn, err := systemd.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("start scope %s: %w", t.unit, err)
	}
	defer conn.Close()
	properties := scopeProperties(t, l.resources, pid, v2)
	done := make(chan string, 1)
	_, err = conn.StartTransientUnitContext(ctx, t.unit, "fail", properties, done)
	if isDBus(err, "org.freedesktop.systemd1.UnitExists") {
		// What is left of a scope that failed; a running one stays as it is.
		_ = conn.ResetFailedUnitContext(ctx, t.unit)
		_, err = conn.StartTransientUnitContext(ctx, t.unit, "fail", properties, done)
	}
	if err != nil {
		return fmt.Errorf("start scope %s: %w", t.unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			_ = conn.ResetFailedUnitContext(ctx, t.unit)
			return fmt.Errorf("start scope %s: systemd says %q", t.unit, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("start scope %s: %w", t.unit, ctx.Err())
	}
}

// scopeProperties names what systemd has to know of the limits: it writes its
// own idea of them into the cgroup again at every daemon-reload. The rest is
// written to the delegated directory only.
func scopeProperties(t target, res *specs.LinuxResources, pid int, v2 bool) []systemd.Property {
	property := func(name string, v any) systemd.Property {
		return systemd.Property{Name: name, Value: dbus.MakeVariant(v)}
	}
	all := []systemd.Property{
		systemd.PropDescription("Wasm container " + t.unit),
		systemd.PropSlice(t.slice),
		property("PIDs", []uint32{uint32(pid)}),
		property("Delegate", true),
		property("DefaultDependencies", false), // do not stop before shutdown begins
		property("MemoryAccounting", true),
		property("CPUAccounting", true),
		property("TasksAccounting", true),
	}
	if v2 {
		all = append(all, property("IOAccounting", true))
	} else {
		all = append(all, property("BlockIOAccounting", true))
	}
	if m := res.Memory; m != nil {
		name := "MemoryLimit"
		if v2 {
			name = "MemoryMax"
		}
		if limit := value(m.Limit); limit > 0 {
			all = append(all, property(name, uint64(limit)))
		}
		if low := value(m.Reservation); v2 && low > 0 {
			all = append(all, property("MemoryLow", uint64(low)))
		}
	}
	if c := res.CPU; c != nil {
		if shares := value(c.Shares); shares != 0 && v2 {
			all = append(all, property("CPUWeight", cgroup2.ConvertCPUSharesToCgroupV2Value(shares)))
		} else if shares != 0 {
			all = append(all, property("CPUShares", shares))
		}
		if quota := value(c.Quota); quota > 0 {
			all = append(all, property("CPUQuotaPerSecUSec", quotaPerSecond(quota, value(c.Period))))
		}
	}
	if res.Pids != nil {
		if limit := value(res.Pids.Limit); limit > 0 {
			all = append(all, property("TasksMax", uint64(limit)))
		}
	}
	return all
}

// quotaPerSecond converts a quota per period, both in microseconds, into one per
// second. systemd keeps it in steps of 10 ms; rounding up keeps the file that is
// written afterwards the stricter one.
func quotaPerSecond(quota int64, period uint64) uint64 {
	if period == 0 {
		period = defaultPeriod
	}
	const step = 10_000
	hi, lo := bits.Mul64(uint64(quota), 1_000_000)
	if hi >= period {
		return math.MaxUint64 // systemd's infinity; the kernel has the last word
	}
	perSecond, _ := bits.Div64(hi, lo, period)
	if perSecond > math.MaxUint64-step {
		return math.MaxUint64
	}
	return (perSecond + step - 1) / step * step
}

// stopScope stops a scope and makes systemd forget it. One that is gone, since
// systemd collects empty scopes, is no error.
func stopScope(unit string) error {
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	conn, err := systemd.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("stop scope %s: %w", unit, err)
	}
	defer conn.Close()
	done := make(chan string, 1)
	_, err = conn.StopUnitContext(ctx, unit, "replace", done)
	if isDBus(err, "org.freedesktop.systemd1.NoSuchUnit") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop scope %s: %w", unit, err)
	}
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("stop scope %s: %w", unit, ctx.Err())
	}
	_ = conn.ResetFailedUnitContext(ctx, unit)
	return nil
}

func isDBus(err error, name string) bool {
	e, ok := errors.AsType[dbus.Error](err)
	return ok && e.Name == name
}
