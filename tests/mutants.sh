#!/bin/sh
# Shows that the simulator finds bugs: breaks a copy of the cores in each way that tests/mutants/*.patch
# describes (the first line says how), and wants a history that catches it.
#   sh tests/mutants.sh [SEEDS] [PATTERN]        from the top of the tree
set -eu
seeds=${1:-1024}
pattern=${2:-}
cargo=${CARGO:-cargo}
top=$(pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
git ls-files -z -- ':!:tests/e2e' | xargs -0 tar -cf - | tar -xf - -C "$work/tree"
cd "$work/tree"
# A target folder of its own: the copy's paths are others.
export CARGO_TARGET_DIR="${MUTANTS_TARGET_DIR:-$work/target}"
export CARGO_PROFILE_DEV_OPT_LEVEL=1

missed=0
for patch in "$top"/tests/mutants/*"$pattern"*.patch; do
    name=$(basename "$patch" .patch)
    patch -s -p1 <"$patch"
    "$cargo" build -q -p tucano-tools --bin tucano-sim 2>"$work/build.log" || {
        cat "$work/build.log"
        exit 1
    }
    if found=$("$CARGO_TARGET_DIR/debug/tucano-sim" --seeds "$seeds" --first 2>&1); then
        echo "MISSED $name: $(head -n 1 "$patch")"
        missed=$((missed + 1))
    else
        echo "caught $name: $(echo "$found" | grep -m 1 'seed' | cut -c 1-150)"
    fi
    patch -s -R -p1 <"$patch"
done
echo "$missed mutants missed"
[ "$missed" -eq 0 ]
