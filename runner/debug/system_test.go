package debug

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestID(t *testing.T) {
	who := identity{uid: 1000, gid: 10, groups: []uint32{10, 20, 30}, capabilities: 1<<0 | 1<<10 | 1<<40 | 1<<50}
	for args, out := range map[string]string{
		"": "uid=1000(app) gid=10(wheel) groups=10(wheel),20,30(data)\n" +
			"capabilities=0004010000000401 chown net_bind_service checkpoint_restore 50\n",
		"-u": "1000\n", "-un": "app\n", "-g": "10\n", "-gn": "wheel\n", "-G": "10 20 30\n", "-Gn": "wheel 20 data\n",
	} {
		c, stdout, _ := newCall(t, "id", args)
		if args == "" {
			c.args = nil
		}
		write(t, c.etc, map[string]string{"passwd": "app:x:1000:10::/:\n", "group": "wheel:x:10:\ndata:x:30:app\n"})
		o, _, _ := c.options("ugGn", "")
		c.id(o, who)
		c.out.Flush()
		if got := stdout.String(); got != out {
			t.Errorf("id %s prints\n%swant\n%s", args, got, out)
		}
	}
}

func TestIDOfThisProcess(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nCapEff:\t")
	set, _, _ := strings.Cut(rest, "\n")
	c, stdout, stderr := newCall(t, "id")
	if code := c.run(); code != 0 {
		t.Fatal(code, stderr)
	}
	for _, part := range []string{fmt.Sprintf("uid=%d gid=%d groups=%d", os.Geteuid(), os.Getegid(), os.Getegid()), "\ncapabilities=" + set} {
		if !strings.Contains(stdout.String(), part) {
			t.Errorf("no %q in %s", part, stdout)
		}
	}
}

// statLine is /proc/PID/stat with the fields that matter.
func statLine(pid int, comm, state string, ppid, group, session, tty, tpgid, utime, stime, nice, threads, rss int) string {
	return fmt.Sprintf("%d (%s) %s %d %d %d %d %d 4194560 1 0 0 0 %d %d 0 0 20 %d %d 0 100 9999 %d 18446744073709551615 1 1\n",
		pid, comm, state, ppid, group, session, tty, tpgid, utime, stime, nice, threads, rss)
}

func TestPs(t *testing.T) {
	pages := 1 << 20 / os.Getpagesize()
	files := map[string]string{
		"self":     "-> 7",
		"version":  "Linux",
		"1/stat":   statLine(1, "wasm-runner", "S", 0, 1, 1, 0, -1, 12345, 55, 0, 7, 20*pages),
		"1/status": "Name:\twasm-runner\nUid:\t7\t1000\t7\t7\n", "1/cmdline": "wasm-runner\x00guest\x00/app.wasm\x00--name=a b\x1b[2J\x00",
		"7/stat":   statLine(7, ") R 1 (x", "R", 0, 7, 3, 34816, 7, 8640000, 0, 5, 1, 0),
		"7/status": "Uid:\t0\t0\t0\t0\n", "7/cmdline": "",
		"8/stat":  "garbage",
		"9/other": "", // gone meanwhile
	}
	const title = "    PID    PPID USER     STAT      RSS     TIME COMMAND\n"
	lines := []string{
		"      1       0 app      Ssl     20480 00:02:04 wasm-runner guest /app.wasm --name=a b?[2J\n",
		"      7       0 0        RN+         0 1-00:00:00 [) R 1 (x]\n",
	}
	for _, args := range []string{"", "-ef", "aux", "auxww", "-A", "-e -f"} {
		c, stdout, stderr := newCall(t, append([]string{"ps"}, strings.Fields(args)...)...)
		write(t, c.proc, files)
		write(t, c.etc, map[string]string{"passwd": "app:x:1000:\n"})
		if code := c.run(); code != 0 || stderr.Len() > 0 {
			t.Errorf("ps %s: %d %s", args, code, stderr)
		}
		// Other file systems than proc list names in any order.
		got := strings.SplitAfter(stdout.String(), "\n")
		slices.Sort(got[1:])
		if got := strings.Join(got, ""); got != title+lines[0]+lines[1] {
			t.Errorf("ps %s prints\n%s", args, got)
		}
	}
	c, _, _ := newCall(t, "ps")
	want(t, c, 1, "", "ps: "+c.proc+" is not mounted in this container\n")
}

func TestPsShowsThisProcess(t *testing.T) {
	c, stdout, stderr := newCall(t, "ps")
	c.proc = "/proc"
	if code := c.run(); code != 0 {
		t.Fatal(stderr)
	}
	for line := range strings.Lines(stdout.String()) {
		if f := strings.Fields(line); f[0] == strconv.Itoa(os.Getpid()) {
			if f[1] != strconv.Itoa(os.Getppid()) || f[2] != strconv.Itoa(os.Geteuid()) || f[4] == "0" || !strings.Contains(line, os.Args[0]) {
				t.Errorf("this process is %s", line)
			}
			return
		}
	}
	t.Errorf("this process is missing in\n%s", stdout)
}

func TestMount(t *testing.T) {
	c, _, _ := newCall(t, "mount")
	write(t, c.proc, map[string]string{"self/mounts": "overlay / overlay ro,relatime,lowerdir=/a 0 0\n" +
		"tmpfs /with\\040space\\134\\012x tmpfs rw 0 0\nshort\nodd /end\\04 tmpfs rw 0 0\n"})
	want(t, c, 0, "overlay on / type overlay (ro,relatime,lowerdir=/a)\n"+
		"tmpfs on /with space\\?x type tmpfs (rw)\nodd on /end\\04 type tmpfs (rw)\n", "")

	c, _, _ = newCall(t, "mount")
	want(t, c, 1, "", "mount: "+c.proc+"/self/mounts: no such file or directory (is /proc mounted in this container?)\n")
}

func TestDf(t *testing.T) {
	dir := inDir(t, map[string]string{"f": ""})
	id, err := mountID(dir)
	if err != nil {
		t.Skip(err)
	}
	info := map[string]string{"self/mountinfo": fmt.Sprintf(
		"%d 1 0:1 / %s rw,relatime shared:1 master:2 - ext4 /dev/very\\040long\\040name-of-a-device rw\n"+
			"%d 1 0:1 / %s rw - tmpfs hidden rw\n"+
			"garbage\n", id, dir, id+1, dir)}
	for _, args := range [][]string{nil, {"f"}} {
		c, stdout, stderr := newCall(t, append([]string{"df", "-T"}, args...)...)
		write(t, c.proc, info)
		if code := c.run(); code != 0 {
			t.Fatal(stderr)
		}
		lines := strings.SplitAfter(stdout.String(), "\n")
		if len(lines) != 3 || lines[0] != "Filesystem           Type       1K-blocks      Used Available  Use% Mounted on\n" ||
			!strings.HasPrefix(lines[1], "/dev/very long name-of-a-device ext4") || !strings.HasSuffix(lines[1], "% "+dir+"\n") {
			t.Errorf("df %q prints\n%s", args, stdout)
		}
	}
	c, _, _ := newCall(t, "df", "nowhere")
	want(t, c, 1, "", "df: nowhere: no such file or directory\n")
}

func TestDfLines(t *testing.T) {
	for _, test := range []struct {
		args string
		line string
	}{
		{"", "overlay                   1000       750       200   79% /\n"},
		{"-h", "overlay                  1000K      750K      200K   79% /\n"},
		{"-i", "overlay                     50        10        40   20% /\n"},
		{"-T", "overlay              overlay         1000       750       200   79% /\n"},
	} {
		c, stdout, _ := newCall(t, "df", test.args)
		if test.args == "" {
			c.args = nil
		}
		o, _, _ := c.options("hiTakP", "")
		st := &unix.Statfs_t{Frsize: 1024, Blocks: 1000, Bfree: 250, Bavail: 200, Files: 50, Ffree: 40}
		c.dfLine(o, mountPoint{source: "overlay", kind: "overlay", point: "/"}, st)
		c.out.Flush()
		if got := stdout.String(); got != test.line {
			t.Errorf("df %s prints\n%swant\n%s", test.args, got, test.line)
		}
	}
}

const netTitle = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func TestSs(t *testing.T) {
	row := func(local, peer, state, queues string, inode int) string {
		return fmt.Sprintf("   0: %s %s %s %s 00:00000000 00000000     0        0 %d 1 0000000000000000 100 0 0 10 0\n",
			local, peer, state, queues, inode)
	}
	files := map[string]string{
		"self/net/tcp": netTitle +
			row("00000000:1F90", "00000000:0000", "0A", "00000000:00000003", 77) +
			row("0100007F:8000", "0200000A:0050", "01", "0000000A:00000000", 78) + "garbage\n",
		"self/net/tcp6": netTitle +
			row("00000000000000000000000000000000:0050", "00000000000000000000000000000000:0000", "0A", "00000000:00000000", 79) +
			row("B80D0120000000000000000001000000:0050", "0000000000000000FFFF00000100007F:1234", "06", "00000000:00000000", 0),
		"self/net/udp": "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
			row("0100007F:0035", "00000000:0000", "07", "00000000:00000000", 80),
		"1/comm": "wasm-runner\n", "1/fd/3": "-> socket:[77]", "1/fd/4": "-> /etc/passwd", "1/fd/5": "-> socket:[x]",
	}
	title := "Netid State      Recv-Q Send-Q Local Address:Port        Peer Address:Port        "
	listen := "tcp   LISTEN          3      0 0.0.0.0:8080              0.0.0.0:*"
	established := "tcp   ESTAB           0     10 127.0.0.1:32768           10.0.0.2:80\n"
	listen6 := "tcp   LISTEN          0      0 [::]:80                   [::]:*"
	wait6 := "tcp   TIME-WAIT       0      0 [2001:db8::1]:80          [::ffff:127.0.0.1]:4660\n"
	datagram := "udp   UNCONN          0      0 127.0.0.1:53              0.0.0.0:*"
	for args, out := range map[string]string{
		"":       title + "\n" + listen + "\n" + established + listen6 + "\n" + wait6 + datagram + "\n",
		"-tan":   title + "\n" + listen + "\n" + established + listen6 + "\n" + wait6,
		"-tl":    title + "\n" + listen + "\n" + listen6 + "\n",
		"-tuln4": title + "\n" + listen + "\n" + datagram + "\n",
		"-6":     title + "\n" + listen6 + "\n" + wait6,
		"-u":     title + "\n" + datagram + "\n",
		"-tlp4":  title + " Process\n" + listen + "                 wasm-runner,1\n",
	} {
		c, _, _ := newCall(t, append([]string{"ss"}, strings.Fields(args)...)...)
		write(t, c.proc, files)
		want(t, c, 0, out, "")
	}
	c, _, _ := newCall(t, "ss")
	want(t, c, 1, title+"\n", "ss: "+c.proc+"/self/net/tcp: no such file or directory (is /proc mounted in this container?)\n")
}

func TestSsShowsAListenerOfThisProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	c, stdout, stderr := newCall(t, "ss", "-tlnp")
	c.proc = "/proc"
	if code := c.run(); code != 0 {
		t.Fatal(stderr)
	}
	for line := range strings.Lines(stdout.String()) {
		if f := strings.Fields(line); f[4] == l.Addr().String() {
			if f[1] != "LISTEN" || !strings.HasSuffix(line, ","+strconv.Itoa(os.Getpid())+"\n") {
				t.Errorf("the listener is %s", line)
			}
			return
		}
	}
	t.Errorf("the listener is missing in\n%s", stdout)
}

func TestAddressesAreWrittenAsNetipDoes(t *testing.T) {
	for _, text := range []string{
		"::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:0:2::3", "1::2:0:0:3", "0:1::", "fe80::1:0:0:1", "2001:db8:0:1:1:1:1:1",
		"1:0:0:2::", "0:1:2:3:4:5:6:0", "::ffff:0:0:0",
	} {
		addr := netip.MustParseAddr(text)
		if b := addr.As16(); ipv6(b[:]) != addr.String() {
			t.Errorf("%s is written as %s", addr, ipv6(b[:]))
		}
	}
}
