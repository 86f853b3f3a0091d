#!/bin/busybox sh
# The first process of the virtual machine. It runs what /tests/run says, tells
# the second serial port about it, and ends the machine.

# A container cannot pivot away from the kernel's first root file system, but from
# a mount of it.
if [ -z "$ROOTED" ]; then
	/bin/busybox mkdir /rooted
	/bin/busybox mount -o bind / /rooted
	cd /rooted || exit
	/bin/busybox mount -o move . /
	ROOTED=1 exec /bin/busybox chroot . /init
fi

/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/mounts /etc/mtab
ip link set lo up
insmod /modules/overlay.ko

# A file system of a block device, so that reading and writing are counted.
insmod /modules/brd.ko rd_nr=1 rd_size=786432
mke2fs -i 8192 /dev/ram0 >/dev/null
mount -t ext4 /dev/ram0 /tmp
chmod 1777 /tmp

port=/dev/ttyS1
stty raw -echo <$port

# The programs run in a cgroup of their own, as services of a node do.
mkdir /sys/fs/cgroup/tests
echo $$ >/sys/fs/cgroup/tests/cgroup.procs

# run PACKAGE DIRECTORY PROGRAM [ARGUMENT]...
run() {
	package=$1
	cd "$2" || return
	shift 2
	printf '\n==> begin %s\n' "$package" >$port
	"$@" >$port 2>&1
	printf '\n==> end %s %s\n' "$package" "$?" >$port
}
. /tests/run
printf '\n==> all\n' >$port
sync
poweroff -f
