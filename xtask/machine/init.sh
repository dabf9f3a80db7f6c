#!/bin/busybox sh
# The first process of the machine of `cargo xtask test --only cgroups`: mounts what the tests need, runs them in a control
# group that is given away as by systemd's `Delegate=yes`, tells their status in the last line, and ends the machine.
export PATH=/usr/bin:/bin HOME=/root
if [ "$1" != again ]; then
    # bubblewrap cannot leave a root that is the kernel's first one.
    busybox mkdir /again
    busybox mount -o bind / /again
    cd /again && busybox mount -o move . / && exec busybox chroot . /init again
fi
cd /
for folder in dev proc sys tmp var/tmp root; do busybox mkdir -p /$folder; done
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t cgroup2 cgroup /sys/fs/cgroup
busybox mount -t devtmpfs dev /dev
busybox mkdir -p /dev/pts /dev/shm
busybox mount -t devpts pts /dev/pts
for folder in dev/shm tmp var/tmp; do busybox mount -t tmpfs -o mode=1777 tmp /$folder; done

given=/sys/fs/cgroup/given
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
busybox mkdir $given
# setxattr, which busybox has no program for.
perl -e 'my ($group, $name, $value) = @ARGV; syscall(188, $group, $name, $value, 1, 0)' $given trusted.delegate 1
STEPCAST_TEST_CGROUPS_REQUIRED=1 STEPCAST_TEST_SANDBOX_REQUIRED=1 busybox sh -c "echo 0 > $given/cgroup.procs; exec /tests --test-threads=1"
echo "the tests ended with status $?"
busybox poweroff -f
