#!/usr/bin/env python3
"""Takes the profiles of a node under load as the README says, with `go tool pprof` (Debian package golang-go), and looks
for the node's own functions in them. Starts three nodes on loopback from ./shard-cache (`make build`: the static binary)
unless --binary names another.

Exit code 0 when all is as it should be, 1 when something is not, 2 when nothing could be measured, 77 when there is no go.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
sys.dont_write_bytecode = True
from nodes import endpoints, local_nodes  # noqa: E402

SKIPPED = 77
LOAD_SECONDS = 30
# What has to be in each profile: names of functions or tasks, and what is measured.
CPU_SECONDS = 3
EXPECTED = {
    f"profile?seconds={CPU_SECONDS}": ("Type: cpu", r"shard_cache::"),
    "heap": ("Type: inuse_space", r"shard_cache::store::"),
    "goroutine": ("Type: tasks", r"client connection"),
}


def top(url: str, home: str) -> str:
    """What `go tool pprof -top` makes of the profile, with the functions that others call, too."""
    environment = {**os.environ, "PPROF_TMPDIR": home}
    done = subprocess.run(["go", "tool", "pprof", "-top", "-cum", "-nodecount=400", url], env=environment, text=True,
                          capture_output=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"go tool pprof {url}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def check(binary: str) -> list[str]:
    """What is wrong."""
    problems = []
    with tempfile.TemporaryDirectory() as directory, local_nodes(binary, f"{directory}/nodes") as nodes:
        load = subprocess.Popen([binary, "bench", "mixed", *endpoints(nodes[:1]), "--keys", "100000", "--duration",
                                 f"{LOAD_SECONDS}s"], stdout=subprocess.DEVNULL)
        try:
            for path, (kind, function) in EXPECTED.items():
                shown = top(f"http://localhost:{nodes[0]['http_port']}/debug/pprof/{path}", directory)
                head = "\n".join(shown.splitlines()[:25])
                print(f"--- {path}\n{head}")
                if kind not in shown or not re.search(function, shown):
                    problems.append(f"{path}: no {kind}, or nothing like {function}")
                if path == "heap" and "backtrace::symbolize" in shown:
                    problems.append("heap: what named the functions of the profile before is still held")
                total = re.search(r"of ([\d.]+)(\w*) total", shown)
                if not total or float(total[1]) == 0:
                    problems.append(f"{path}: it is empty")
        finally:
            load.terminate()
            load.wait()
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "shard-cache"))
    binary = parser.parse_args().binary
    if shutil.which("go") is None:
        print("SKIPPED: there is no go (Debian package golang-go)", file=sys.stderr)
        return SKIPPED
    try:
        problems = check(binary)
    except (OSError, RuntimeError, subprocess.SubprocessError, json.JSONDecodeError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"profiles: {len(EXPECTED) - len(problems)} of {len(EXPECTED)} are as they should be")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
