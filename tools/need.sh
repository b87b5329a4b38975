#!/bin/sh
# Says what is missing to build or to test, and how to get it. Installs nothing.
#   sh tools/need.sh build|test|bench
set -u

missing=0
lacks() {
    echo "missing: $1" >&2
    echo "    $2" >&2
    missing=1
}
package() {
    if command -v apt-get >/dev/null 2>&1; then echo "apt-get install $1"
    elif command -v dnf >/dev/null 2>&1; then echo "dnf install $2"
    elif command -v pacman >/dev/null 2>&1; then echo "pacman -S $3"
    elif command -v apk >/dev/null 2>&1; then echo "apk add $4"
    else echo "install the package of your distribution that has it"
    fi
}
have() {
    command -v "$1" >/dev/null 2>&1
}

[ "$(uname -s)" = Linux ] ||
    lacks "Linux" "the worker supervises processes by pidfd, procfs and cgroups: run it on Linux"

# The oldest Rust that the workspace builds with stands in Cargo.toml.
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
rustup="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
if ! have cargo; then
    lacks "cargo (Rust $wanted or newer)" "$rustup"
else
    found=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
    oldest=$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)
    [ "$oldest" = "$wanted" ] || lacks "Rust $wanted or newer (this is $found)" "rustup update"
fi
have cc || lacks "a C compiler, for SQLite" "$(package gcc gcc gcc 'gcc musl-dev')"

if [ "${1-build}" = test ]; then
    for component in fmt clippy; do
        have "cargo-$component" || lacks "cargo $component" \
            "rustup component add $(echo $component | sed 's/^fmt/rustfmt/')"
    done
    have curl || lacks "curl" "$(package curl curl curl curl)"
    have python3 || lacks "python3, a service under test" \
        "$(package python3 python3 python python3)"
    have node || lacks "node, a service under test" "$(package nodejs nodejs nodejs nodejs)"
fi
if [ "${1-build}" = bench ]; then
    # Daemons are in /usr/sbin, which users do not always search.
    PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin
    for tool in haproxy wrk strace python3 taskset; do
        from=$(echo $tool | sed 's/^taskset/util-linux/')
        have $tool || lacks "$tool" "$(package $from $from $from $from)"
    done
    have nginx || lacks "nginx" "$(package nginx-light nginx nginx nginx)"
fi
exit "$missing"
