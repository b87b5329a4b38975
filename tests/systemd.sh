#!/bin/sh
# The units under a real systemd: a throwaway Debian in systemd-nspawn, installed as `make install`
# does, with real instances that have to outlive stops, restarts, reloads and kill -9 of the agent.
#   sh tests/systemd.sh BINARIES [SYSTEM]
# BINARIES: target/release. SYSTEM: a folder for the Debian, made by debootstrap where it is not
# there (SUITE=bookworm). It wants root and Debian's debootstrap and systemd-container; nothing of it
# is left but SYSTEM. Resource limits are not looked at: containers do not always enforce them.
set -eu
cd "$(dirname "$0")/.."
built=$(realpath "$1")
system=${2:-/var/tmp/tucano-systemd-${SUITE:-bookworm}}
packages=systemd,systemd-sysv,dbus,procps,curl

[ -x "$system/lib/systemd/systemd" ] ||
    debootstrap --variant=minbase --include="$packages" "${SUITE:-bookworm}" "$system" >&2

# A network of its own: nothing here meets the machine's ports.
systemd-nspawn -q -x -D "$system" -b --register=no --keep-unit --console=pipe \
    --machine="tucano$$" --private-network --bind-ro="$PWD:/src" --bind-ro="$built:/built" \
    </dev/null >/dev/null 2>&1 &
nspawn=$!
leader=
# A power cut of the container; nspawn removes its throwaway copy then.
trap 'kill -9 ${leader:-$nspawn} 2>/dev/null || true; wait $nspawn 2>/dev/null || true' EXIT

inside() {
    nsenter -t "$leader" -a -- "$@"
}
fail() {
    echo "FAILED: $*" >&2
    inside systemctl status --no-pager -n 30 tucano-worker tucano-controller >&2 || true
    exit 1
}
# until WHAT COMMAND…: looks every 100 ms, for a minute.
until_() {
    what=$1 tries=600
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "never: $what"
        sleep 0.1
    done
}
find_leader() {
    leader=$(pgrep -P $nspawn | head -n 1)
    [ -n "$leader" ]
}
main_pid() {
    inside systemctl show -p MainPID --value "$1"
}
# The ticker's shell, and what it forked away.
instances() {
    inside pgrep -u tucano-run -f 'ticking|10007' | sort -n | tr '\n' ' '
}
healthy() {
    inside curl -sf http://127.0.0.1:7070/v1/services/ticker | grep -q '"healthy": *true'
}
restarts() {
    inside curl -sf http://127.0.0.1:7070/v1/services/ticker | grep -o '"restarts": *[0-9]*'
}
same() {
    until_ "a healthy instance after $1" healthy
    now=$(instances)
    [ "$now" = "$before" ] || fail "$1: other processes: $before, now $now"
    restarts | grep -q ' *0$' || fail "$1: $(restarts)"
    echo "ok: $1 leaves the instances as they were"
}
other_agent() {
    found=$(main_pid tucano-worker)
    [ "$found" != 0 ] && [ "$found" != "$agent" ]
}
deploy() {
    cat <<'SPEC' | inside curl -sf -X POST --data-binary @- -H 'Content-Type: application/json' \
        'http://127.0.0.1:7070/v1/services?wait=60s'
{ "name": "ticker", "resources": { "memory": "64MiB" }, "stop": { "grace": "2s" },
  "scripts": { "runtime-script": "setsid sleep 10007 & while :; do echo ticking; sleep 1; done" } }
SPEC
}

until_ "a container" find_leader
until_ "a systemd" inside systemctl is-system-running --wait
until_ "its units" inside systemctl list-units
inside sh -c 'cd /src && sh tools/install.sh install "" /usr/local/bin /usr/local/share/doc/tucano \
    /usr/local/lib/systemd/system /usr/local/lib/sysusers.d /usr/local/lib/tmpfiles.d /built' \
    >/dev/null
version=$(inside systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')
if [ "$version" -ge 254 ]; then
    # Younger ones put the agent into a subgroup of its unit, where that is asked for.
    inside mkdir -p /etc/systemd/system/tucano-worker.service.d
    printf '[Service]\nDelegateSubgroup=agent\n' |
        inside tee /etc/systemd/system/tucano-worker.service.d/subgroup.conf >/dev/null
    inside systemctl daemon-reload
fi
inside systemctl enable --now tucano-controller tucano-worker 2>/dev/null
ready() { inside tucano workers | grep -q ready; }
until_ "a worker" ready
deploy >/dev/null || fail "the deploy"
until_ "a healthy instance" healthy
# As the agent names its groups after its data folder.
worker=tucano-95f5e419f88b4313
before=$(instances)
[ "$(echo $before | wc -w)" = 2 ] || fail "a shell and what it forked away: $before"
echo "ok: systemd $version runs the units; processes $before"

agent=$(main_pid tucano-worker)
echo "agent:    $(inside cat "/proc/$agent/cgroup" | tail -n 1)"
for pid in $before; do
    group=$(inside cat "/proc/$pid/cgroup" | tail -n 1)
    case $group in
    */tucano-[0-9a-f]*/runtime.*) echo "instance: $group" ;;
    *) fail "no control group of its own: $group" ;;
    esac
done

inside systemctl stop tucano-worker
[ "$(instances)" = "$before" ] || fail "systemctl stop ended instances"
inside systemctl start tucano-worker
same "systemctl stop and start"
inside systemctl restart tucano-worker
same "systemctl restart"
agent=$(main_pid tucano-worker)
inside systemctl reload tucano-worker
same "systemctl reload"
[ "$(main_pid tucano-worker)" = "$agent" ] || fail "reload: another agent"
inside systemctl kill --kill-who=main -s KILL tucano-worker
until_ "the next agent" other_agent
same "kill -9 of the agent"
inside systemctl kill --kill-who=main -s KILL tucano-controller
same "kill -9 of the controller"
inside systemctl restart tucano-controller
same "a restart of the controller"

inside tucano rm ticker >/dev/null
none() { [ -z "$(instances)" ]; }
until_ "the end of all that the service started" none
# A container may see the machine's own groups, too: only this worker's count.
groups() { inside find /sys/fs/cgroup -path '*/tucano.slice/*' -type d -name "$worker*"; }
clean() { [ -z "$(groups)" ]; }
until_ "the end of its control groups" clean
failed=$(inside systemctl list-units --failed --no-legend 'tucano*')
[ -z "$failed" ] || fail "$failed"
echo "ok: a deleted service leaves no process and no control group"
inside sh -c 'cd /src && sh tools/install.sh uninstall "" /usr/local/bin \
    /usr/local/share/doc/tucano /usr/local/lib/systemd/system /usr/local/lib/sysusers.d \
    /usr/local/lib/tmpfiles.d /built' >/dev/null
gone=$(inside systemctl list-units --no-legend --all 'tucano-*.service' | grep -c running || true)
[ "$gone" = 0 ] || fail "units run on after uninstall"
echo "ok: uninstalled"
