#!/usr/bin/env python3
"""Runs the commands of README.md as they stand there, against the built binary, and compares what they print.

    readme.py [--binary PATH] [--readme FILE]

- `bash` blocks are run whole and must exit with 0. A block that starts a node in the foreground is run until the node
  answers, and then ended by SIGTERM.
- `console` blocks are run command by command (lines with `$ `) and their output is compared line by line; numbers,
  hashes, sizes and times may differ, and a line `...` stands for any lines.
- `yaml` blocks must pass `config check`.
- Blocks that need a Docker engine are named and left to tests/containers.py and chaos/smoke.sh.
- `make` does not build again: `make build` is done already, `run-local` and `stop-local` do with this binary what the
  Makefile says, and the targets in TARGETS_NOT_RUN must only exist.
- Links to files must lead somewhere, in README.md and the other documents.
- The fields and defaults in docs/configuration.md must be those of `config print`.

Without grpcurl, jq or go on the PATH small stand-ins take their place. Where the README's ports are taken, others are used.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.dont_write_bytecode = True

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "chaos/README.md", *(
    str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")))]
# They take long, or are what calls this check.
TARGETS_NOT_RUN = {"test", "ci", "race", "cover", "lint", "fmt", "verify", "readme", "prometheus"}
# The lines by which a newcomer gets here.
LINES_DONE = re.compile(r"^(git clone .*|cd shard-cache)$", re.MULTILINE)
SERVER = re.compile(r"^\./shard-cache( serve)?( -.*)?$")
NEEDS_CLUSTER = re.compile(r"localhost:|\./shard-cache (get|set|del|cluster|ring|healthcheck|local) ")
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NEEDS_ENGINE = re.compile(r"^(\$ )?(docker-compose|docker|make docker|make containers|make chaos-smoke|chaos/\S+)\b",
                          re.MULTILINE)
BLOCK_TIMEOUT_SECONDS = 120
GRPC_BASE, GOSSIP_BASE, NODES = 8080, 7946, 3

MAKE = """#!/usr/bin/env bash
set -euo pipefail
for target in "$@"; do
    grep -q "^$target:" {makefile} || {{ echo "make: no target $target" >&2; exit 2; }}
    case "$target" in
        build) ;;
        run-local) ./shard-cache local up -n {nodes} --base-port {grpc} --gossip-base-port {gossip}
                   ./shard-cache local demo ;;
        stop-local) ./shard-cache local down ;;
        {not_run}) echo "make $target: not run by this check" ;;
        *) echo "make $target: neither run nor on the list of targets that are not" >&2; exit 2 ;;
    esac
done
"""
GRPCURL = """#!{python}
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, {contract!r})
import check
arguments = [argument for argument in sys.argv[1:] if argument != "-plaintext"]
data = "{{}}"
if "-d" in arguments:
    at = arguments.index("-d")
    data = arguments[at + 1]
    del arguments[at:at + 2]
host, port = arguments[0].rsplit(":", 1)
node = check.Node(arguments[0], host, int(port), 0)
client = check.ReflectionClient([node])
client.connect(node)
print(client.call(node, arguments[1], data))
"""
# `go tool pprof URL` ends at once when nobody types anything.
GO = """#!/usr/bin/env bash
set -euo pipefail
curl -fsS --max-time 100 --output /dev/null "${@: -1}"
"""
JQ = '#!/bin/sh\nexec python3 -m json.tool\n'


def ports_are_free(grpc: int, gossip: int) -> bool:
    """Whether a local cluster can use these ports."""
    wanted = [(socket.SOCK_STREAM, grpc + step) for step in range(2 * NODES)]
    wanted += [(kind, gossip + step) for step in range(NODES) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    held = []
    try:
        for kind, port in wanted:
            held.append(socket.socket(socket.AF_INET, kind))
            if kind == socket.SOCK_STREAM:
                held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held[-1].bind(("127.0.0.1", port))
        return True
    except OSError:
        return False
    finally:
        for one in held:
            one.close()


def choose_ports() -> tuple[int, int]:
    for grpc, gossip in [(GRPC_BASE, GOSSIP_BASE), *((base, base + 20) for base in range(18080, 28080, 100))]:
        if ports_are_free(grpc, gossip):
            return grpc, gossip
    raise SystemExit("no free ports")


def masked(line: str) -> str:
    """The line without what differs from run to run."""
    def mask(token: str) -> str:
        return "#" if re.search(r"\d", token) or re.fullmatch(r"-|\(?([KMGT]i)?B\)?", token) else token
    return " ".join(mask(token) for token in line.split())


def matches(expected: list[str], printed: list[str]) -> bool:
    if not expected:
        return not printed
    if expected[0] == "...":
        return any(matches(expected[1:], printed[skip:]) for skip in range(len(printed) + 1))
    return bool(printed) and expected[0] == printed[0] and matches(expected[1:], printed[1:])


class Stage:
    """A folder that looks like the repository after `make build`, and the local cluster in it."""

    def __init__(self, folder: pathlib.Path, binary: pathlib.Path) -> None:
        self.grpc, self.gossip = choose_ports()
        self.folder = folder / "shard-cache"
        self.folder.mkdir()
        (self.folder / "shard-cache").symlink_to(binary)
        shutil.copytree(ROOT / "deploy", self.folder / "deploy")
        tools = folder / "tools"
        tools.mkdir()
        environment = {name: text for name, text in os.environ.items() if not name.startswith("SHARD_CACHE")}
        self.environment = {**environment, "PATH": f"{tools}:{environment['PATH']}"}
        if self.grpc != GRPC_BASE:
            print(f"the README's ports are taken: using {self.grpc} and {self.gossip} onwards")
            self.environment |= {
                "SHARD_CACHE_ENDPOINT": f"localhost:{self.grpc}",
                "SHARD_CACHE_HTTP_ENDPOINT": f"localhost:{self.grpc + 1}",
                "SHARD_CACHE_GOSSIP_PORT": str(self.gossip),
            }
        self.add_tool(tools / "make", MAKE.format(
            makefile=ROOT / "Makefile", nodes=NODES, grpc=self.grpc, gossip=self.gossip,
            not_run="|".join(sorted(TARGETS_NOT_RUN))))
        if shutil.which("grpcurl") is None:
            self.add_tool(tools / "grpcurl", GRPCURL.format(
                python=python_with_packages(), contract=str(ROOT / "tests" / "contract")))
        # It keeps what it fetches.
        self.environment["PPROF_TMPDIR"] = str(folder / "profiles")
        if shutil.which("go") is None:
            self.add_tool(tools / "go", GO)
        if shutil.which("jq") is None:
            self.add_tool(tools / "jq", JQ)

    @staticmethod
    def add_tool(path: pathlib.Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def with_ports(self, text: str) -> str:
        def moved(found: re.Match) -> str:
            port = int(found[0])
            return str(port - GRPC_BASE + self.grpc if port >= GRPC_BASE else port - GOSSIP_BASE + self.gossip)
        return re.sub(r"\b(808[0-5]|794[6-8])\b", moved, text)

    def run(self, script: str) -> subprocess.CompletedProcess:
        script = self.with_ports(script)
        return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env=self.environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=BLOCK_TIMEOUT_SECONDS, check=False)

    def has_cluster(self) -> bool:
        return (self.folder / ".local").exists()

    def start_cluster(self) -> None:
        if not self.has_cluster():
            done = self.run("make run-local")
            if done.returncode != 0:
                raise SystemExit(f"the local cluster did not start:\n{done.stdout}")

    def stop_cluster(self) -> None:
        if self.has_cluster():
            self.run("make stop-local")


def python_with_packages() -> pathlib.Path:
    """The interpreter that the contract check uses."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "tests" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.python_with_packages()


def check_bash(stage: Stage, text: str) -> str | None:
    """Why the block failed, if it did."""
    text = LINES_DONE.sub("", text)
    commands = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(commands) == 1 and SERVER.match(commands[0]):
        return check_server(stage, commands[0])
    if "make run-local" in text:
        stage.stop_cluster()
    elif NEEDS_CLUSTER.search(text):
        stage.start_cluster()
    done = stage.run(text)
    return None if done.returncode == 0 else f"exit code {done.returncode}:\n{done.stdout}"


def check_server(stage: Stage, command: str) -> str | None:
    stage.stop_cluster()
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(["bash", "-c", f"exec {stage.with_ports(command)}"], cwd=stage.folder,
                                  env=stage.environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 30
            while not is_healthy(stage.grpc + 1):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    return f"the node does not answer:\n{log.read()}"
                time.sleep(0.1)
            server.send_signal(signal.SIGTERM)
            code = server.wait(timeout=30)
            return None if code == 0 else f"exit code {code} after SIGTERM"
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()


def is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def check_console(stage: Stage, text: str) -> str | None:
    steps: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif steps:
            steps[-1][1].append(line)
    if steps and "make run-local" in steps[0][0]:
        stage.stop_cluster()
    elif NEEDS_CLUSTER.search(text):
        stage.start_cluster()
    for command, expected in steps:
        done = stage.run(command)
        if done.returncode != 0:
            return f"`{command}`: exit code {done.returncode}:\n{done.stdout}"
        wanted = [masked(line) for line in expected if line.strip()]
        printed = [masked(line) for line in done.stdout.splitlines() if line.strip()]
        if not matches(wanted, printed):
            return f"`{command}` prints something else:\n{done.stdout}"
    return None


def check_yaml(stage: Stage, text: str) -> str | None:
    file = stage.folder / "block.yaml"
    file.write_text(text)
    done = stage.run("./shard-cache config check block.yaml")
    return None if done.returncode == 0 else done.stdout


def broken_links() -> list[str]:
    broken = []
    for document in DOCUMENTS:
        path = ROOT / document
        if not path.exists():
            broken.append(f"{document} is missing")
            continue
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{document}: link to {target}, which does not exist")
    return broken


def wrong_defaults(stage: Stage) -> list[str]:
    """Rows of the table of bounds that name no field, or another default than the program's."""
    printed = stage.run("./shard-cache config print -o json")
    if printed.returncode != 0:
        return [f"config print: exit code {printed.returncode}:\n{printed.stdout}"]
    config, wrong = json.loads(printed.stdout)["config"], []
    table = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \|[^|]*\| ([^|]*?) \|", table, re.MULTILINE)
    for field, shown in rows:
        value = config
        for name in field.split("."):
            value = value.get(name, "no such field") if isinstance(value, dict) else "no such field"
        default = "not set" if value is None else str(value)
        if default != shown and "." in field:
            wrong.append(f"docs/configuration.md: {field} is {default}, not {shown}")
    return wrong if rows else ["docs/configuration.md: no table of bounds found"]


def built_binary() -> pathlib.Path:
    # As tests/run.py does it, so that nothing is built twice.
    command = [os.environ.get("CARGO", "cargo"), "test", "--workspace", "--locked", "--no-run", "--quiet"]
    subprocess.run(command, cwd=ROOT, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "shard-cache"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, help="the program; not given, a debug build")
    parser.add_argument("--readme", type=pathlib.Path, default=ROOT / "README.md", help="the document")
    arguments = parser.parse_args()
    binary = (arguments.binary or built_binary()).resolve()
    version = subprocess.run([binary, "version", "-o", "json"], check=True, capture_output=True, text=True)
    if json.loads(version.stdout)["features"]:
        raise SystemExit(f"{binary} is built with test features: {version.stdout}")
    checks = {"bash": check_bash, "console": check_console, "yaml": check_yaml}
    document = arguments.readme.read_text()
    failures, count = broken_links(), 0
    with tempfile.TemporaryDirectory(prefix="shard-cache-readme-") as folder:
        stage = Stage(pathlib.Path(folder), binary)
        try:
            failures += wrong_defaults(stage)
            for block in BLOCK.finditer(document):
                indent, kind, text = block.groups()
                if kind not in checks:
                    continue
                line = document.count("\n", 0, block.start()) + 1
                if NEEDS_ENGINE.search(text):
                    print(f"{arguments.readme.name}:{line} ({kind}): not run, it needs a Docker engine", flush=True)
                    continue
                count += 1
                text = "".join(row.removeprefix(indent) for row in text.splitlines(keepends=True))
                try:
                    failure = checks[kind](stage, text)
                except subprocess.TimeoutExpired:
                    failure = f"takes longer than {BLOCK_TIMEOUT_SECONDS} s"
                print(f"{arguments.readme.name}:{line} ({kind}): {'FAILED' if failure else 'ok'}", flush=True)
                if failure:
                    failures.append(f"{arguments.readme.name}:{line}: {failure}")
        finally:
            stage.stop_cluster()
    for failure in failures:
        print(f"problem: {failure}", file=sys.stderr)
    print(f"readme: {count} blocks run, {len(failures)} problems; not run: make {' '.join(sorted(TARGETS_NOT_RUN))}")
    return 1 if failures or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
