#!/usr/bin/env bash
# The figures of the README for contexts and copies: wall time, CPU time (user + sys) and peak memory of one whole `bkl build`.
# Conditions: warm page cache, store and contexts on the disk of TMPDIR. Each first use has a store of its own and waits until
# what was written before it is on the disk; nothing is removed before the end: ext4 is slow to make files for some minutes after
# many were removed, so do not begin right after such a thing either.
# usage: benches/contexts.sh [bkl]   (without: the release binary, which is built)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
if [ $# -gt 0 ]; then
  bkl=$(realpath "$1")
else
  cd "$root" && cargo build --release --locked -q
  bkl=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/bkl
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TIMEFORMAT='%R %U %S'

# Runs `bkl build` in a folder RUNS times with a command before each; prints the best times and the largest memory.
#   row NAME FOLDER RUNS ARGUMENTS [BEFORE]     NEW in the arguments is another number every time
row() {
  local name=$1 folder=$2 runs=$3 target=$4 before=${5:-true}
  for n in $(seq "$runs"); do
    (cd "$folder" && eval "$before") >/dev/null
    python3 - "$bkl" "$folder" "$target" <<'PY'
import resource, subprocess, sys, time
bkl, folder, target = sys.argv[1:]
words = [word.replace("NEW", str(time.time_ns())) for word in target.split()]
start = time.monotonic()
done = subprocess.run([bkl, "build", "--progress", "quiet", *words], cwd=folder)
wall = time.monotonic() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
if done.returncode: sys.exit(done.returncode)
print(f"{wall * 1000:.0f} {(used.ru_utime + used.ru_stime) * 1000:.0f} {used.ru_maxrss / 1024:.0f}")
PY
  done | sort -n | awk -v name="$name" '
    NR == 1 { wall = $1; cpu = $2 } { if ($2 < cpu) cpu = $2; if ($3 > rss) rss = $3 }
    END { printf "%-58s %6d ms wall %6d ms CPU %4d MB\n", name, wall, cpu, rss }'
}

program() {
  cat > "$1/build.bkl" <<'BKL'
let base = scratch.write("/etc/os-release", "base")
target alone = local("ctx")
target copied = scratch.copy(local("ctx"), ".", "/")
target app = base.copy(local("ctx"), ".", "/app")
BKL
}

# 50,000 files of 4 kB in 500 folders.
mkdir -p "$work/small/ctx" && program "$work/small"
python3 - "$work/small/ctx" <<'PY'
import os, sys
for d in range(500):
    folder = f"{sys.argv[1]}/d{d // 25}/e{d}"
    os.makedirs(folder)
    for f in range(100):
        with open(f"{folder}/file{f}.txt", "wb") as out:
            out.write((f"{d} {f} " * 600).encode()[:4096])
PY
# Eight files of 128 MB.
mkdir -p "$work/large/ctx" && program "$work/large"
for n in $(seq 8); do head -c $((128 << 20)) /dev/urandom > "$work/large/ctx/part$n"; done
find "$work" -type f -exec cat {} + > /dev/null
touch_one='date +%N > ctx/d3/e77/file5.txt; sleep 0.1'
add_one='date +%N > ctx/new$RANDOM; sleep 0.1'

for target in alone copied app; do
  export BKL_STORE=$work/store-$target
  row "50,000 files, $target: first use" "$work/small" 1 $target sync
  row "50,000 files, $target: unchanged" "$work/small" 5 $target 'sleep 0.1'
  row "50,000 files, $target: one changed" "$work/small" 5 $target "$touch_one"
done
for target in alone app; do
  export BKL_STORE=$work/store-large-$target
  row "8 files of 128 MB, $target: first use" "$work/large" 1 $target sync
  row "8 files of 128 MB, $target: unchanged" "$work/large" 5 $target 'sleep 0.1'
  row "8 files of 128 MB, $target: one small file added" "$work/large" 5 $target "$add_one"
done

# A hundred copies of a file each, out of a hundred stages: `fused`, as a program says it, and `apart`, where each copy is
# a result of its own and so a step.
mkdir -p "$work/copies"
{
  echo 'param salt: str'
  for n in $(seq 100); do echo "let s$n = scratch.write(\"/out\", \"#{salt} $n\")"; done
  echo 'target fused = scratch.write("/etc/os-release", "base")'
  for n in $(seq 100); do echo "  .copy(s$n, \"/out\", \"/all/$n\")"; done
  echo 'let t0 = scratch.write("/etc/os-release", "base")'
  for n in $(seq 100); do echo "let t$n = t$((n - 1)).copy(s$n, \"/out\", \"/all/$n\")"; done
  printf 'target apart = merge([t1'
  for n in $(seq 2 100); do printf ', t%s' "$n"; done
  echo '])'
} > "$work/copies/build.bkl"
export BKL_STORE=$work/store-copies
row "100 copies across stages, fused" "$work/copies" 5 "fused -p salt=NEW"
row "100 copies across stages, each a step" "$work/copies" 5 "apart -p salt=NEW"
row "100 copies across stages, unchanged" "$work/copies" 5 "apart -p salt=same"
