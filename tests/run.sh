#!/bin/sh
# Every test of the workspace, and their sum in one line: `N passed, M failed`.
#   sh tests/run.sh CARGO [ARGUMENTS OF CARGO TEST]
set -u
cargo=$1
shift
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

{ "$cargo" test --workspace --no-fail-fast "$@" 2>&1; echo "exit code: $?"; } | tee "$log" |
    grep -v '^exit code: '
code=$(sed -n 's/^exit code: //p' "$log" | tail -n 1)

awk '/^test result: /{ passed += $4; failed += $6 }
    END { printf "%d passed, %d failed\n", passed, failed }' "$log"
exit "${code:-1}"
