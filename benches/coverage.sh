#!/usr/bin/env bash
# Line coverage of the language (src/lang) by the tests, the `bkl` processes they start counted in.
#
#   benches/coverage.sh [FILTER of the integration tests…]
#
# Needs `rustup component add llvm-tools`. Only this crate is instrumented, so the dependencies are those of `cargo test`.
# Steps of builds run in processes with an empty environment; they are no part of the language and leave no profile.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
[ -x "$tools/llvm-cov" ] || { echo "coverage.sh: run \`rustup component add llvm-tools\` first" >&2; exit 1; }
target=${CARGO_TARGET_DIR:-target}
profiles=$(mktemp -d)
trap '[ -n "${COVERAGE_KEEP:-}" ] || rm -rf "$profiles"' EXIT

# A wrapper for the crates of the workspace alone; cargo keeps what it builds apart from other builds.
wrapper=$profiles/rustc
printf '#!/bin/sh\nexec "$@" -C instrument-coverage\n' >"$wrapper"
chmod +x "$wrapper"
mkdir -p "$target/coverage"
cp "$wrapper" "$target/coverage/rustc"
export RUSTC_WORKSPACE_WRAPPER=$(realpath "$target/coverage/rustc")
export LLVM_PROFILE_FILE=$profiles/%m_%p.profraw

objects=$(cargo test --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sort -u)
it=$(grep '/deps/it-' <<<"$objects")
filters=("$@")
[ ${#filters[@]} -gt 0 ] || filters=(golden:: eval:: explain:: cli:: docs:: stdlib:: fuzz:: tidy:: passes::)
for filter in "${filters[@]}"; do
  "$it" "$filter" >"$profiles/log" 2>&1 || { tail -40 "$profiles/log" >&2; exit 1; }
done
for object in $(grep '/deps/bkl-' <<<"$objects"); do
  "$object" lang:: >"$profiles/log" 2>&1 || { tail -40 "$profiles/log" >&2; exit 1; }
done

"$tools/llvm-profdata" merge --sparse --failure-mode=all -o "$profiles/all.profdata" "$profiles"/*.profraw
# The first binary stands alone, the others behind `--object`; tests beside the code are not what is measured.
args=()
for object in $objects; do [ ${#args[@]} -eq 0 ] && args=("$object") || args+=(--object "$object"); done
args+=(--instr-profile "$profiles/all.profdata")
sources=$(find src/lang -name '*.rs' ! -name tests.rs | sort)
"$tools/llvm-cov" report "${args[@]}" $sources |
  awk '/^Filename/ || /\.rs / || /^TOTAL/ { printf "%-44s %7s lines %7s missed %8s\n", $1, $8, $9, $10 }'
if [ -n "${COVERAGE_LINES:-}" ]; then
  "$tools/llvm-cov" show "${args[@]}" $sources >"$COVERAGE_LINES"
fi
