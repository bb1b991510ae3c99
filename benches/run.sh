#!/usr/bin/env bash
# The figures of the README: whole-process wall times of the release binary on this machine.
# Conditions: warm page cache, seccomp on, the sandbox's network (pasta, where it is installed), a growing snapshot chain, a
# store on the disk of TMPDIR.
# usage: benches/run.sh [work folder]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/.ci/deps" busybox-static gcc libc6-dev
cd "$root"
cargo build --release --locked -q
bkl=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/bkl
work=${1:-$(mktemp -d)}
export BKL_STORE=$work/store
mkdir -p "$work/steps/rootfs/bin" "$work/stages/rootfs/bin"
for program in steps stages; do
  cp /bin/busybox "$work/$program/rootfs/bin/busybox"
  for name in sh true cp mkdir; do ln -sf busybox "$work/$program/rootfs/bin/$name"; done
  # As in every image: a tree without /etc gets and loses it with each command.
  mkdir -p "$work/$program/rootfs/etc" && echo 'root:x:0:0:root:/root:/bin/sh' > "$work/$program/rootfs/etc/passwd"
done

# Wall milliseconds of a command, median of $1 runs; its output is thrown away.
median() {
  local runs=$1; shift
  for _ in $(seq "$runs"); do
    local start end
    start=$(date +%s%N); "$@" >/dev/null 2>&1; end=$(date +%s%N)
    echo $(((end - start) / 1000))
  done | sort -n | awk '{ all[NR] = $1 } END { printf "%.1f", all[int((NR + 1) / 2)] / 1000 }'
}

cat > "$work/steps/build.bkl" <<'BKL'
param salt: str
param steps: int
let base = scratch.copy(local("rootfs"), ".", "/").image().with(env: { PATH: "/bin" })
target chain = fold tree = base for i in range(steps) { tree.exec(["true", "#{salt}", "#{i}"]) }
BKL
# Two hundred commands that know nothing of each other, and their results joined.
cat > "$work/steps/wide.bkl" <<'BKL'
param salt: str
let base = scratch.copy(local("rootfs"), ".", "/").image().with(env: { PATH: "/bin" })
target joined = merge([for i in range(200): base.exec(["true", salt, "#{i}"])])
BKL
# Two hundred files written one after the other: one step, or, as a definition that no pass went over, two hundred.
cat > "$work/steps/files.bkl" <<'BKL'
param salt: str
target chain = fold tree = scratch for i in range(200) { tree.write("/f#{i}", salt) }
BKL
# Twelve stages, each one command, and a copy out of every one of them.
{
  echo 'let base = scratch.copy(local("rootfs"), ".", "/").image().with(env: { PATH: "/bin" })'
  for i in $(seq 12); do echo "let s$i = base.run(\"echo $i > /out-$i\")"; done
  echo 'target app = base'
  for i in $(seq 12); do echo "  .copy(s$i, \"/out-$i\", \"/all/\")"; done
} > "$work/stages/build.bkl"

echo "bkl --version: $(median 21 "$bkl" --version) ms"
(cd "$work/steps" && "$bkl" build --progress quiet -p salt=warm -p steps=1)
# Beside them: the same number of containers by a program that does nothing else. In turns, and nothing is removed between
# them: what the disk has to do meanwhile happens to both.
gcc -O2 -static -o "$work/floor" "$root/benches/floor.c"
mkdir -p "$work/floor-root/"{bin,proc,dev,sys} && cp /bin/busybox "$work/floor-root/bin/true"
python3 - "$bkl" "$work" <<'PY'
import os, statistics, subprocess, sys, time
bkl, work = sys.argv[1:]
def build(n):
    start = time.monotonic()
    salt = str(time.time_ns())
    subprocess.run([bkl, "build", "--progress", "quiet", "-p", f"salt={salt}", "-p", f"steps={n}"],
                   cwd=f"{work}/steps", stdout=subprocess.DEVNULL, check=True)
    return (time.monotonic() - start) * 1000
def floor():
    uppers = f"{work}/uppers-{time.time_ns()}"
    os.mkdir(uppers)
    floor = ["unshare", "-m", f"{work}/floor", "200", f"{work}/floor-root", uppers]
    return float(subprocess.run(floor, capture_output=True, text=True, check=True).stdout)
rounds = [(build(1), build(201), floor()) for _ in range(9)]
each, bare = (statistics.median(it) for it in zip(*(((many - one) / 200, bare) for one, many, bare in rounds)))
print(f"200 sequential true steps: {each:.1f} ms a step; the floor, clone + mounts + exec: {bare:.1f} ms each; "
      f"{each / bare:.1f} times as long")
PY
(cd "$work/steps" && echo "200 independent true steps joined: $(median 3 sh -c "exec '$bkl' build wide.bkl --progress quiet -p salt=\$\$") ms")
(
  cd "$work/steps"
  echo "200 file actions as one step: $(median 3 sh -c "exec '$bkl' build files.bkl --progress quiet -p salt=\$\$") ms"
  "$bkl" lower files.bkl -O0 --emit llb -p salt=$$ > files.pb
  first=$(median 1 "$bkl" build --llb files.pb --progress quiet)
  echo "200 file actions, each a step: $first ms, cached $(median 11 "$bkl" build --llb files.pb --progress quiet) ms"
)
# File actions in chains, from short to long: what each costs, first and cached, and the most memory. `lower -O0` leaves
# them steps of their own. Each chain has a store of its own.
cat > "$work/steps/long.bkl" <<'BKL'
param n: int
target chain = fold tree = scratch for i in range(n) { tree.write("/f#{i}", "text") }
BKL
for n in 200 2000 20000 100000; do
  for level in -O0 -O1; do
    python3 - "$bkl" "$work/steps" "$work/store-long-$n$level" $n $level <<'PY'
import os, subprocess, sys, time
bkl, steps, store, n, level = sys.argv[1:]
def run(*args, **to):
    start = time.monotonic()
    process = subprocess.Popen([bkl, *args], cwd=steps, env=dict(os.environ, BKL_STORE=store), **to)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"bkl {' '.join(args)} failed"
    return (time.monotonic() - start) * 1000, used.ru_maxrss / 1024
def build():
    return run("build", "--llb", "long.pb", "--progress", "quiet", stdout=subprocess.DEVNULL)
with open(os.path.join(steps, "long.pb"), "wb") as definition:
    _, lowering = run("lower", "long.bkl", level, "--emit", "llb", "-p", f"n={n}", stdout=definition)
(first, building), (cached, finding) = build(), min(build() for _ in range(3))
form = "each a step" if level == "-O0" else "as one step"
print(f"{n} file actions, {form}: {first:.0f} ms, {first / int(n):.3f} ms each; cached {cached:.0f} ms; "
      f"{building:.0f} MB, cached {finding:.0f} MB, lowered {lowering:.0f} MB")
PY
    rm -rf "$work/store-long-$n$level" || true # what syncs it in the background may still write there
  done
done
(cd "$work/stages" && "$bkl" build --progress quiet)
echo "cached 12-stage build, new process: $(cd "$work/stages" && median 21 "$bkl" build --progress quiet) ms"
benches/lsp.py "$bkl" 500

# CPU milliseconds of a command, the best of $1 runs; its output is thrown away.
cpu() {
  local runs=$1; shift
  for _ in $(seq "$runs"); do
    { TIMEFORMAT='%U %S'; time "$@" >/dev/null 2>&1; } 2>&1
  done | awk '{ ms = ($1 + $2) * 1000; if (NR == 1 || ms < best) best = ms } END { printf "%.0f", best }'
}
mkdir -p "$work/large"
"$root/benches/program.sh" > "$work/large/build.bkl"
lines=$(wc -l < "$work/large/build.bkl")
echo "program of $lines lines, CPU: check $(cd "$work/large" && cpu 11 "$bkl" check) ms," \
  "check and lower $(cd "$work/large" && cpu 11 "$bkl" lower -o out/ --unique bench) ms"
cargo bench --locked -q --bench graph
[ $# -gt 0 ] || rm -rf "$work"
