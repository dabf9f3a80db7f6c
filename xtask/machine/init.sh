#!/bin/busybox sh
# The first process of the machine of `cargo xtask test --only cgroups`: mounts what the tests need, runs them in a control
# group that is given away as by systemd's `Delegate=yes`, tells their status in a line, and ends the machine.
export PATH=/usr/bin:/bin HOME=/home STEPCAST_TEST_CGROUPS_REQUIRED=1 STEPCAST_TEST_SANDBOX_REQUIRED=1
if [ "$1" != again ]; then
    # bubblewrap cannot leave a root that is the kernel's first one.
    busybox mkdir /again
    busybox mount -o bind / /again
    cd /again && busybox mount -o move . / && exec busybox chroot . /init again
fi
cd /
for folder in dev proc sys tmp var/tmp home; do busybox mkdir -p /$folder; done
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t cgroup2 cgroup /sys/fs/cgroup
busybox mount -t devtmpfs dev /dev
busybox mkdir -p /dev/pts /dev/shm
busybox mount -t devpts pts /dev/pts
for folder in dev/shm tmp var/tmp; do busybox mount -t tmpfs -o mode=1777 tmp /$folder; done

echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
status=0
# Once as root and once as a common user, each with what systemd notes at its group.
for user in 0 1000; do
    given=/sys/fs/cgroup/given-$user
    busybox mkdir $given
    [ $user = 0 ] && note=trusted.delegate || note=user.delegate
    # setxattr, which busybox has no program for.
    perl -e 'my ($group, $name, $value) = @ARGV; syscall(188, $group, $name, $value, 1, 0)' $given $note 1
    busybox chown $user $given $given/cgroup.procs $given/cgroup.subtree_control
    busybox sh -c 'echo 0 > $1/cgroup.procs; exec perl -e "\$) = \$( = \$ARGV[0]; \$< = \$> = \$ARGV[0]; exec \$ARGV[1]" $2 /tests' \
        sh $given $user || status=$?
done
echo "the tests ended with status $status"
busybox poweroff -f
