#!/bin/sh
# All tests of the worker and all end to end on a machine of their own, with a kernel and control
# groups as distributions boot them (version 2 with all of its controllers): a Debian in QEMU,
# emulated, so that it works everywhere, and takes half an hour.
#   sh tests/machine.sh [SYSTEM] [KERNEL ARGUMENT…]
# SYSTEM: a folder for the Debian, made by mmdebstrap where it is not there; the oldest kernel in its
# /boot is used. With the argument cgroup_disable=memory it is what Raspberry Pi OS boots. It wants
# root, mmdebstrap, e2fsprogs and qemu-system-x86, and leaves nothing but SYSTEM.
set -eu
cd "$(dirname "$0")/.."
system=${1:-/var/tmp/tucano-machine}
[ $# = 0 ] || shift
packages=linux-image-cloud-amd64,systemd-sysv,udev,dbus,procps,iproute2,curl,python3,nginx-light
packages=$packages,gcc,libc6-dev,nodejs
work=$(mktemp -d)
root=$work/root
trap 'rm -rf "$work"' EXIT

[ -e "$system/boot" ] || mmdebstrap --variant=apt --include="$packages" bookworm "$system" >&2

# Tests look for the binaries where they were built, so both stand at the same place in there.
cargo build -q --workspace --bins
tests=$(cargo test --no-run --message-format=json -p tucano-worker -p tucano-tests 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
cp -a "$system" "$root"
inside=$root/src
mkdir -p "$inside/target/debug/deps"
git archive HEAD | tar -xf - -C "$inside"
cp target/debug/tucano target/debug/tucano-* "$inside/target/debug/" 2>/dev/null
for test in $tests; do
    case $test in
    */deps/*) cp "$test" "$inside/target/debug/deps/$(basename "$test" | sed 's/-[0-9a-f]*$//')" ;;
    esac
done
find "$inside/target/debug" -type f -perm -1 -exec strip -g {} +
sh tools/install.sh install "$root" /usr/local/bin /usr/local/share/doc/tucano \
    /etc/systemd/system /etc/sysusers.d /etc/tmpfiles.d target/debug >/dev/null

cat >"$inside/run.sh" <<EOF
mkdir -p '$PWD' && mount --bind /src '$PWD' && cd '$PWD/worker' && ip link set lo up
failed=0
check() {
    name=\$1
    shift
    "\$@" >/tmp/check.log 2>&1 && echo "ok      \$name" && return
    echo "FAILED  \$name"
    grep -v ' ok$' /tmp/check.log | tail -n 400
    failed=1
}
units() {
    systemctl start tucano-controller tucano-worker || return
    for try in \$(seq 60); do
        curl -sf localhost:7070/v1/workers | grep -q '"state":"ready"' && break
        sleep 1
    done
    curl -sf -X POST 'localhost:7070/v1/services?wait=120s' -H 'Content-Type: application/json' \
        -d '{"name": "calm", "scripts": {"runtime-script": "exec sleep 1000"},
             "resources": {"memory": "48MiB", "cpu": 0.5, "pids": 20}}' || return
    journalctl -u tucano-worker -o cat | grep 'control groups:'
    group=\$(find /sys/fs/cgroup/tucano.slice -name 'runtime.*')
    grep -Hx 20 "\$group/pids.max" && grep -Hx 50 "\$group/cpu.weight" || return
    if grep -q cgroup_disable=memory /proc/cmdline; then
        curl -s localhost:7070/v1/events | grep cgroup_unavailable | grep 'cgroup_enable=memory'
    else
        grep -Hx 50331648 "\$group/memory.max"
    fi || return
    pid=\$(cat "\$group/cgroup.procs")
    kill -9 \$(systemctl show -p MainPID --value tucano-worker)
    sleep 5
    kill -0 "\$pid" && curl -sf -X DELETE localhost:7070/v1/services/calm || return
    for try in \$(seq 60); do
        [ -e "\$group" ] || break
        sleep 1
    done
    ! [ -e "\$group" ] && ! kill -0 "\$pid"
}
cat /sys/fs/cgroup/cgroup.controllers
check units units
systemctl stop tucano-worker tucano-controller
for test in tucano_worker agent holder; do
    check \$test ../target/debug/deps/\$test --test-threads=2
done
cd ../tests
# What is emulated takes longer than the 1.5 s within which that one wants every answer.
check e2e ../target/debug/deps/e2e --test-threads=2 --skip a_worker_that_loses_its_cable_loses
[ \$failed = 0 ] && echo "all is well"
EOF
cat >"$root/etc/systemd/system/checks.service" <<EOF
[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/ttyS0
Delegate=yes
TimeoutStartSec=infinity
ExecStart=/bin/bash /src/run.sh
ExecStopPost=/bin/systemctl poweroff --force
[Install]
WantedBy=default.target
EOF
ln -s ../checks.service "$root/etc/systemd/system/multi-user.target.wants/"
ln -sf /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
version=$(find "$root/boot" -name 'vmlinuz-*' | sed 's/.*vmlinuz-//' | sort -V | head -n 1)
kernel=$root/boot/vmlinuz-$version
initrd=$root/boot/initrd.img-$version
truncate -s 6G "$work/disk"
mkfs.ext4 -q -d "$root" "$work/disk"
qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 3072 -display none -serial stdio -monitor none \
    -no-reboot -nic none -kernel "$kernel" -initrd "$initrd" \
    -append "root=/dev/vda rw console=ttyS0 quiet panic=-1 $*" \
    -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" </dev/null | tee "$work/log"
grep -q '^all is well' "$work/log"
