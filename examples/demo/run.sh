#!/usr/bin/env bash
# `make demo`: builds a real image from Debian packages with no registry and no daemon, and runs it with runc.
# Everything it makes lies under .demo/ of the checkout.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bkl=${BKL:-bkl}
work=$root/.demo
export BKL_STORE=$work/store
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

mkdir -p "$work"
rm -rf "$work/project"
cp -r "$here" "$work/project"

if [ ! -e "$work/base/index.json" ]; then
  say "a base image from Debian packages (debootstrap, once)"
  rm -rf "$work/base" "$work/base.new" "$work/rootfs"
  debootstrap --variant=minbase bookworm "$work/rootfs" http://deb.debian.org/debian > "$work/debootstrap.log" ||
    { tail -n 20 "$work/debootstrap.log"; exit 1; }
  rm -f "$work"/rootfs/var/cache/apt/archives/*.deb
  umoci init --layout "$work/base.new"
  umoci new --image "$work/base.new:debian:bookworm"
  umoci insert --image "$work/base.new:debian:bookworm" "$work/rootfs" /
  umoci config --image "$work/base.new:debian:bookworm" --config.cmd /bin/bash \
    --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  mv "$work/base.new" "$work/base"
  rm -rf "$work/rootfs"
fi
# Hard links: the program sees only what lies in its own folder.
cp -al "$work/base" "$work/project/base"
cd "$work/project"

say "bkl build: compile in one state, ship from another, no daemon"
"$bkl" build app -o type=oci,dest=dist/wordfreq.oci.tar
"$bkl" build doc

say "the image, read by skopeo; its manual, exported as files"
skopeo inspect --config oci-archive:dist/wordfreq.oci.tar | sed -n '1,12p'
head -n 4 dist/doc/wordfreq.1

say "run by runc, which knows nothing of bkl"
rm -rf "$work/layout" "$work/bundle"
skopeo copy -q oci-archive:dist/wordfreq.oci.tar "oci:$work/layout:wordfreq"
umoci unpack --image "$work/layout:wordfreq" "$work/bundle" >/dev/null 2>&1
sed -i 's/"terminal": true/"terminal": false/; s#"/usr/bin/wordfreq"#"/usr/bin/wordfreq","5"#' "$work/bundle/config.json"
(cd "$work/bundle" && runc run "bkl-demo-$$" < "$root/LICENSE")

say "again: nothing runs"
"$bkl" build app --progress plain 2>&1 | tail -n 3

say "one source line changed: only what reads it runs"
sed -i 's/different words/distinct words/' src/report.c
"$bkl" build app -o type=oci,dest=dist/wordfreq.oci.tar --progress plain 2>&1 | grep -v '^$' | tail -n 25
