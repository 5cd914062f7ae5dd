#!/bin/sh
# Becomes the init of a machine of its own: systemd on a root of its own, which shares nothing with this machine but /usr and Natto's folder,
# both read-only. Run by boot-machine.ts in fresh namespaces:  boot.sh NAME ROOT NATTO_FOLDER
set -eu
name=$1
root=$2
natto=$3
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/default var/lib var/log run tmp root home proc sys dev opt/natto old
for folder in bin sbin lib lib64; do [ -e "/usr/$folder" ] && ln -s "usr/$folder" "$folder"; done
mount --bind /usr usr && mount -o remount,bind,ro usr
mount -t tmpfs -o mode=755 tmpfs usr/local/bin
mount --bind "$natto" opt/natto && mount -o remount,bind,ro opt/natto

for file in passwd group shadow gshadow nsswitch.conf ld.so.cache ld.so.conf ld.so.conf.d alternatives ssl bird iproute2 pam.d login.defs adduser.conf; do
  [ ! -e "/etc/$file" ] || cp -a "/etc/$file" etc/
done
hostname "$name"
echo "$name" >etc/hostname
echo "127.0.0.1 localhost" >etc/hosts
# What the installation of the package left in /var.
install -d -m 700 -o etcd -g etcd var/lib/etcd
echo 00000000000000000000000000000001 >etc/machine-id
mkdir -p etc/systemd/system
ln -s /usr/lib/systemd/system/basic.target etc/systemd/system/default.target
# What would reach beyond this root: the kernel's settings, modules and devices.
for unit in systemd-sysctl systemd-modules-load systemd-binfmt systemd-udevd systemd-udev-trigger systemd-udev-settle \
  systemd-remount-fs systemd-random-seed systemd-hwdb-update systemd-journal-catalog-update; do
  ln -s /dev/null "etc/systemd/system/$unit.service"
done
for unit in sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount dev-hugepages.mount; do
  ln -s /dev/null "etc/systemd/system/$unit"
done

mount -t proc proc proc
mount -t sysfs sysfs sys
# As systemd does where it is not told that it runs in a container.
mount -t bpf -o mode=700 bpf sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0

pivot_root . old
umount -l /old
rmdir /old
exec env -i container=natto PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /usr/lib/systemd/systemd --system --show-status=0
