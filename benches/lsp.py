#!/usr/bin/env python3
"""How fast `bkl lsp` answers: opens a generated program, changes it and asks.

usage: benches/lsp.py BKL [lines]
Prints for each question the median and the worst of the runs: wall time, and CPU time of the server. Diagnostics come
50 ms after the last change at the earliest: the server waits for more; that wait is left out of the wall time shown.
"""
import json, os, statistics, subprocess, sys, tempfile, time

RUNS = 21
QUIET_MS = 50.0


def program(lines):
    """A program as people write them: records, functions, images, commands over several lines, targets."""
    out = ["enum Mode { debug, release }",
           "type Service = { name: str, port: port = 8080, mode: Mode = .debug, env: {str: str} = {} }",
           'param version: str = "1.0.0"', 'let base = image("debian:bookworm")', ""]
    n = 0
    while len(out) < lines - 16:
        out += [
            f"/// Service number {n}.",
            f'let service_{n}: Service = {{ name: "api-{n}", port: {8000 + n % 1000}, env: {{ LEVEL: "{n}" }} }}',
            f"fn image_{n}(s: Service, from: image = base, jobs: int = 4) -> image {{",
            f"  let sources = local(\"src/{n}\", exclude: [\"**/*.md\", \".git\"])",
            f'  let built = from.run("""',
            f"    set -e",
            f"    make -C /src -j#{{jobs}} VERSION=#{{version}} NAME=#{{s.name}}",
            f'    """,',
            f'    mounts: [ro(sources, "/src"), cache("/root/.cache")],',
            f'    env: {{ MODE: match s.mode {{ .debug => "debug", .release => "release" }} }},',
            f'    outs: {{ bin: out("/out") }},',
            f"  )",
            f'  from.copy(built.bin, s.name, "/usr/bin/").with(entrypoint: ["/usr/bin/#{{s.name}}"], ports: [s.port])',
            f"}}",
            f"target app_{n} = image_{n}(service_{n}, jobs: {n % 8 + 1}).tag([\"example.com/#{{service_{n}.name}}:#{{version}}\"])",
            "",
        ]
        n += 1
    out += ["fn last(img: image) -> image {", '  let one = img.run("true")', "  one", "}", "target last_one = last(base)"]
    return "\n".join(out) + "\n"


class Server:
    def __init__(self, bkl, folder):
        self.process = subprocess.Popen([bkl, "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder)
        self.id = 0

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def receive(self):
        length = 0
        while line := self.process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return json.loads(self.process.stdout.read(length))

    def until(self, wanted):
        while True:
            message = self.receive()
            if wanted(message):
                return message

    def request(self, method, params):
        self.id += 1
        self.send({"id": self.id, "method": method, "params": params})
        answer = self.until(lambda it: it.get("id") == self.id and "method" not in it)
        assert "error" not in answer, answer
        return answer["result"]

    def cpu_ms(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000.0 / os.sysconf("SC_CLK_TCK")


def main():
    bkl = os.path.abspath(sys.argv[1])
    lines = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    with tempfile.TemporaryDirectory() as folder:
        measure(bkl, folder, program(lines))


def measure(bkl, folder, text):
    path = os.path.join(folder, "build.bkl")
    open(path, "w").write(text)
    uri = "file://" + path
    document = {"uri": uri}
    server = Server(bkl, folder)
    server.request("initialize", {"capabilities": {}, "workspaceFolders": [{"uri": "file://" + folder, "name": "x"}]})
    server.send({"method": "initialized", "params": {}})
    opened = {"uri": uri, "languageId": "bkl", "version": 1, "text": text}
    server.send({"method": "textDocument/didOpen", "params": {"textDocument": opened}})
    news = lambda it: it.get("method") == "textDocument/publishDiagnostics"
    first = server.until(news)["params"]["diagnostics"]
    assert not first, first
    count = len(text.splitlines())
    version = [1]

    def change(line, start, end, new):
        version[0] += 1
        at = lambda column: {"line": line, "character": column}
        changes = [{"range": {"start": at(start), "end": at(end)}, "text": new}]
        params = {"textDocument": {"uri": uri, "version": version[0]}, "contentChanges": changes}
        server.send({"method": "textDocument/didChange", "params": params})

    def timed(name, run, wait=0.0):
        wall, cpu_before = [], server.cpu_ms()
        for i in range(RUNS):
            start = time.perf_counter()
            run(i)
            wall.append((time.perf_counter() - start) * 1000 - wait)
        cpu = (server.cpu_ms() - cpu_before) / RUNS
        print(f"{name:32} median {statistics.median(wall):6.1f} ms   worst {max(wall):6.1f} ms   CPU {cpu:6.1f} ms")

    # The line `  one` of the last function.
    line = count - 3
    print(f"{count} lines")

    def diagnostics(i):
        # `one` and `onx` in turn: each time there is something new to say.
        change(line, 4, 5, "x" if i % 2 == 0 else "e")
        server.until(news)

    timed("change to diagnostics", diagnostics, QUIET_MS)
    change(line, 2, 5, "one.")
    server.until(news)

    def completion(i):
        # A change in between: nothing is known of the text yet.
        change(line, 5, 6, ".")
        items = server.request("textDocument/completion", {"textDocument": document, "position": {"line": line, "character": 6}})
        assert any(item["label"] == "run" for item in items)

    timed("change and completion", completion)

    def hover(i):
        change(line, 5, 6, ".")
        found = server.request("textDocument/hover", {"textDocument": document, "position": {"line": 3, "character": 6}})
        assert "image" in found["contents"]["value"]

    timed("change and hover", hover)
    ask = lambda method, **more: lambda i: server.request(
        "textDocument/" + method, {"textDocument": document, "position": {"line": 3, "character": 6}, **more})
    timed("hover again", ask("hover"))
    timed("references", ask("references", context={"includeDeclaration": True}))
    timed("rename", ask("rename", newName="start"))
    timed("semantic tokens", ask("semanticTokens/full"))
    timed("formatting", ask("formatting", options={"tabSize": 2, "insertSpaces": True}))
    server.request("shutdown", None)
    server.send({"method": "exit"})
    assert server.process.wait() == 0


main()
