#!/bin/sh
# Runs each fuzz target of common/fuzz for so many seconds: sh tools/fuzz.sh SECONDS. What it finds new is kept in
# target/fuzz/corpus, an input that breaks a promise in target/fuzz/NAME-crash-…; it ends with an error then.
# It wants a nightly compiler, and no cargo-fuzz.
set -eu
cd "$(dirname "$0")/../common/fuzz"
seconds=$1
target=${CARGO_TARGET_DIR:-../../target}/fuzz
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "a nightly compiler is missing: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
llvm='-Cllvm-args=-sanitizer-coverage'
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module $llvm-level=4 $llvm-inline-8bit-counters $llvm-pc-table \
    $llvm-trace-compares -Zsanitizer=address" CARGO_TARGET_DIR=$target \
    cargo +nightly build --release --target x86_64-unknown-linux-gnu
for program in fuzz_targets/*.rs; do
    name=$(basename "$program" .rs)
    mkdir -p "$target/corpus/$name"
    echo "$name"
    "$target/x86_64-unknown-linux-gnu/release/$name" "$target/corpus/$name" "corpus/$name" -verbosity=0 \
        -print_final_stats=1 -max_total_time="$seconds" -artifact_prefix="$target/$name-"
done
