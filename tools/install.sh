#!/bin/sh
# make install and make uninstall.
#   install.sh install|uninstall DESTDIR BINDIR DOCDIR UNITDIR SYSUSERSDIR TMPFILESDIR BUILT
#
# With a DESTDIR it only places files, for a package whose own scripts make users and folders.
# Settings in /etc/tucano that exist are kept; uninstall leaves them, the data and the users.
set -eu
action=$1 dest=$2 bin=$3 doc=$4 units=$5 sysusers=$6 tmpfiles=$7 built=$8

place() {
    install -D -m "$1" "$2" "$dest$3"
    echo "  $dest$3"
}

place_unit() {
    work=$(mktemp)
    sed "s|/usr/local/bin/|$bin/|; s|/usr/local/share/doc/tucano|$doc|" "$1" >"$work"
    place 0644 "$work" "$units/$(basename "$1")"
    rm -f "$work"
}

place_setting() {
    if [ -e "$dest/etc/tucano/$(basename "$1")" ]; then
        echo "  $dest/etc/tucano/$(basename "$1") (kept)"
    else
        place 0640 "$1" "/etc/tucano/$(basename "$1")"
    fi
}

have_systemd() {
    [ -d /run/systemd/system ]
}

make_users() {
    if command -v systemd-sysusers >/dev/null 2>&1; then
        systemd-sysusers "$sysusers/tucano.conf"
    else
        for user in tucano tucano-run; do
            getent passwd "$user" >/dev/null ||
                useradd --system --user-group --no-create-home --home-dir /nonexistent \
                    --shell /usr/sbin/nologin "$user"
        done
    fi
}

make_folders() {
    if command -v systemd-tmpfiles >/dev/null 2>&1; then
        systemd-tmpfiles --create "$tmpfiles/tucano.conf"
    else
        install -d -m 0750 -o root -g tucano /etc/tucano
        install -d -m 0755 /var/lib/tucano
        install -d -m 0700 -o tucano -g tucano /var/lib/tucano/controller
        install -d -m 0711 /var/lib/tucano/worker
    fi
    chgrp tucano /etc/tucano/controller.env /etc/tucano/worker.env
}

do_install() {
    if [ -z "$dest" ] && [ "$(id -u)" != 0 ]; then
        echo "make install: run it as root (sudo make install), or set DESTDIR" >&2
        exit 1
    fi
    echo "installing"
    for name in tucano-controller tucano-worker tucano; do
        place 0755 "$built/$name" "$bin/$name"
    done
    for unit in systemd/*.service systemd/*.socket systemd/*.slice; do
        place_unit "$unit"
    done
    place 0644 systemd/sysusers.d/tucano.conf "$sysusers/tucano.conf"
    place 0644 systemd/tmpfiles.d/tucano.conf "$tmpfiles/tucano.conf"
    for setting in systemd/env/*.env; do
        place_setting "$setting"
    done
    for text in README.md CHANGELOG.md LICENSE docs/*; do
        if [ -f "$text" ]; then
            place 0644 "$text" "$doc/$(basename "$text")"
        fi
    done
    if [ -n "$dest" ]; then
        return
    fi
    make_users
    make_folders
    if have_systemd; then
        systemctl daemon-reload
    fi
    cat <<TEXT

installed. Next:
  the controller, on one machine:   systemctl enable --now tucano-controller
  restarts of it that refuse nobody (once the addresses are settled; see operations.md):
                                    tucano-controller.socket
  a worker, on every machine:       edit /etc/tucano/worker.env
                                    systemctl enable --now tucano-worker
  is it up?                         tucano status
TEXT
}

do_uninstall() {
    if [ -z "$dest" ] && [ "$(id -u)" != 0 ]; then
        echo "make uninstall: run it as root (sudo make uninstall), or set DESTDIR" >&2
        exit 1
    fi
    if [ -z "$dest" ] && have_systemd; then
        systemctl disable --now tucano-controller.socket tucano-worker tucano-controller \
            2>/dev/null || true
    fi
    for name in tucano-controller tucano-worker tucano; do
        rm -f "$dest$bin/$name"
    done
    for unit in systemd/*.service systemd/*.socket systemd/*.slice; do
        rm -f "$dest$units/$(basename "$unit")"
    done
    rm -f "$dest$sysusers/tucano.conf" "$dest$tmpfiles/tucano.conf"
    rm -rf "$dest$doc"
    if [ -n "$dest" ]; then
        return
    fi
    if have_systemd; then
        systemctl daemon-reload
    fi
    cat <<TEXT
uninstalled. What stays, because it may hold what nobody has elsewhere:
  /etc/tucano, /var/lib/tucano, the users tucano and tucano-run
Services that still run on this machine go on running: delete them before (tucano rm NAME), or end
them by their user: pkill -u tucano-run
TEXT
}

case $action in
install) do_install ;;
uninstall) do_uninstall ;;
*)
    echo "install.sh: install or uninstall" >&2
    exit 2
    ;;
esac
