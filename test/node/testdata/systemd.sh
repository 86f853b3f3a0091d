# A systemd that is pid 1 of namespaces, with containerd as its service, and beside it the
# installer as the DaemonSet runs it: in namespaces of its own, with two capabilities.
#
#   systemd.sh CGROUP ROOT BIN    in new pid, mount, uts, ipc and net namespaces
#
# It prints what the installer says, and DONE.
set -eu
cgroup=$1 root=$2 bin=$3 stage=${4-}

if [ -z "$stage" ]; then
	mkdir "$cgroup"
	echo $$ >"$cgroup/cgroup.procs"
	exec unshare --cgroup sh "$0" "$@" inside
fi

mount --make-rprivate /
mount -t proc proc /proc
mount -t proc proc "$root/proc"
# pid 1 would set some of the machine's.
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind "$root/run" /run
mkdir -p /run/systemd/system /run/units
if [ "$cgroup" = "${cgroup#/sys/fs/cgroup/systemd/}" ]; then
	mount -t cgroup2 cgroup /sys/fs/cgroup
else
	mount -t tmpfs cgroup /sys/fs/cgroup
	mkdir /sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd,xattr cgroup /sys/fs/cgroup/systemd
	# It would mount the other hierarchies, whose roots are the machine's, and remove
	# every empty cgroup in them: those that others have just made, too.
	mount -o remount,ro /sys/fs/cgroup
fi
printf '[Unit]\nDefaultDependencies=no\n' >/run/units/default.target
cat >/run/units/containerd.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=notify
ExecStart=/usr/sbin/chroot $root /opt/containerd/bin/containerd --root /var/lib/containerd --state /run/containerd-state
KillMode=process
UNIT

client() {
	while ! systemctl start containerd.service 2>/dev/null; do sleep 0.1; done
	pid() { systemctl show -p MainPID containerd.service; }
	as_in_a_pod() {
		unshare --pid --fork --mount-proc setpriv --bounding-set -all,+chown,+sys_chroot --inh-caps -all --no-new-privs \
			"$bin/wasm-node-installer" --host-root "$root" "$@" 2>&1 || true
	}
	before=$(pid)
	as_in_a_pod --unit no-such.service install
	[ "$before" = "$(pid)" ] && echo same process
	as_in_a_pod install
	installed=$(pid)
	[ "$before" != "$installed" ] && echo new process
	as_in_a_pod install
	as_in_a_pod verify
	[ "$installed" = "$(pid)" ] && echo same process
	as_in_a_pod uninstall
	echo DONE
}
client &
export container=test SYSTEMD_UNIT_PATH=/run/units SYSTEMD_LOG_TARGET=null
exec /lib/systemd/systemd --system --unit=default.target --show-status=0 >/dev/null 2>&1
