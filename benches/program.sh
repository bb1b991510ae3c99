#!/usr/bin/env bash
# Prints a program of about 4,000 lines, as a large team would write it: services with builds, checks and images each.
# usage: benches/program.sh [services]
set -euo pipefail
cat <<'BKL'
/// What every service is made from.
enum Kind { api, worker, site }

type Service = { name: str, kind: Kind, port: int = 8080, env: {str: str} = {}, replicas: int = 1 }

param version: str = "1.0.0"
param debug: bool = false

let base = scratch.copy(local("rootfs"), ".", "/").image().with(env: { PATH: "/bin", LANG: "C" })

/// Flags by kind.
fn flags(kind: Kind) -> [str] {
  match kind {
    .api => ["--http", "--metrics"],
    .worker => ["--queue"],
    .site => ["--static"],
  }
}

/// The files of a service, compiled.
fn compiled(tools: image, src: fs, name: str, words: [str]) -> fs {
  tools.run(
    """
      cc -o /out/#{name} #{words}
      strip /out/#{name}
    """,
    mounts: [ro(src, "/src"), cache("/cache/#{name}")],
    outs: { bin: out("/out") },
    workdir: "/src",
  ).bin
}

BKL
for i in $(seq "${1:-108}"); do
  kind=$([ $((i % 3)) = 0 ] && echo api || { [ $((i % 3)) = 1 ] && echo worker || echo site; })
  cat <<BKL
/// Service $i: what it is called and how it runs.
let service$i: Service = {
  name: "service-$i",
  kind: .$kind,
  port: $((8000 + i)),
  env: { MODE: if debug { "debug" } else { "release" }, NAME: "service-$i" },
  replicas: $((i % 5 + 1)),
}

/// Its sources.
let sources$i = local(
  "services/service$i",
  include: ["src", "include", "Makefile"],
  exclude: ["**/*.md", "**/testdata"],
)

/// Its program.
let program$i = compiled(base, sources$i, service$i.name, flags(service$i.kind))

/// What it must say of itself.
let works$i = base
  .copy(program$i, service$i.name, "/bin/")
  .check("#{service$i.name} --version", name: "does #{service$i.name} run?")

/// The image of service $i.
pub target image$i = base
  .copy(program$i, service$i.name, "/bin/")
  .mkdir("/var/lib/service$i", mode: 0o750)
  .write("/etc/service$i.conf", "port = #{service$i.port}\nreplicas = #{service$i.replicas}\n")
  .with(
    env: service$i.env + { VERSION: version },
    entrypoint: ["/bin/service-$i", "--port", "#{service$i.port}"],
    labels: { "org.example.kind": "$kind", "org.example.version": version },
  )
  .require([works$i])
  .tag(["registry.example.com/team/service-$i:#{version}"])

BKL
done
