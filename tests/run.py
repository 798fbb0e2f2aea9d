#!/usr/bin/env python3
"""Runs every test of the repository and ends in one line: N passed, M failed, K skipped.

Parts: `cargo test` of the whole workspace, the simulator (fixed seeds, and fresh ones that nobody has seen before), and
the contract check (the requests of the README against a local cluster, through server reflection). Needs Rust, a C
compiler and Python 3; a virtual environment is made in .venv.
"""

import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CARGO = os.environ.get("CARGO", "cargo")
# Tests that may be skipped, by name, each with its reason. Any other skip fails the run.
SKIPS_ALLOWED: dict[str, str] = {
    "check::tests::speed::speed": "it measures, and says something in a release build only",
}
NODES = 3
# Seeds of the simulator: the first so many, and as many from the system's entropy; each with faults for so long.
FIXED_SEEDS = 40
FRESH_SEEDS = 10
SIMULATED_SECONDS = 20
# Of every so many seeds one runs twice: both runs must have the same trace.
TWICE_EVERY = 5
# A hanging part must not hang the whole run.
CARGO_TIMEOUT_SECONDS = 40 * 60
PART_TIMEOUT_SECONDS = 5 * 60


class Tally:
    """What passed, failed and was skipped so far."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.problems: list[str] = []

    def fail(self, problem: str) -> None:
        self.failed += 1
        self.problems.append(problem)


def run_cargo(tally: Tally) -> None:
    """Runs the workspace's tests, showing their output as it comes and counting it."""
    command = [CARGO, "test", "--workspace", "--locked", "--no-fail-fast"]
    result = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
    ignored = re.compile(r"^test (\S+).* \.\.\. ignored")
    started = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        failed_before = tally.failed
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if match := ignored.match(line):
                if match[1] not in SKIPS_ALLOWED:
                    tally.fail(f"{match[1]} was skipped and is not on the list of allowed skips")
            if match := result.match(line):
                tally.passed += int(match[1])
                tally.failed += int(match[2])
                tally.skipped += int(match[3])
            if time.monotonic() - started > CARGO_TIMEOUT_SECONDS:
                process.kill()
                tally.fail(f"cargo test took longer than {CARGO_TIMEOUT_SECONDS} s")
        code = process.wait()
    if code != 0 and tally.failed == failed_before:
        tally.fail(f"{' '.join(command)} exited with {code}")


def python_with_packages() -> pathlib.Path:
    """The interpreter of a virtual environment that has the packages of the contract check."""
    python = VENV / "bin" / "python"
    wanted = (ROOT / "tests" / "contract" / "requirements.txt").read_text()
    stamp = VENV / "requirements.txt"
    if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
        venv.create(VENV, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                   ROOT / "tests" / "contract" / "requirements.txt"]
        subprocess.run(install, check=True)
        stamp.write_text(wanted)
    return python


def build() -> None:
    """Builds the debug binary in the same way as the tests do. `cargo build` alone would choose other features for shared
    dependencies and build most of them once more."""
    subprocess.run([CARGO, "test", "--workspace", "--locked", "--no-run", "--quiet"], cwd=ROOT, check=True)


def binary(name: str = "shard-cache") -> pathlib.Path:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / name


def run_simulator(tally: Tally) -> None:
    """Runs whole clusters on virtual time, with fixed seeds and with fresh ones."""
    sweep_seeds(tally, "fixed", 0, FIXED_SEEDS)
    # Seeds in a row differ in everything: their bits are mixed before use.
    sweep_seeds(tally, "fresh", secrets.randbelow(2**32), FRESH_SEEDS)


def sweep_seeds(tally: Tally, kind: str, first: int, count: int) -> None:
    """Runs seeds in a row and counts each; says how to run those again that failed."""
    print(f"simulator: {kind} seeds {first} to {first + count - 1}", flush=True)
    shape = ["--seconds", str(SIMULATED_SECONDS)]
    sweep = subprocess.run(
        [binary("shard-cache-sim"), "sweep", "--first", str(first), "--seeds", str(count), *shape, "--keep-going",
         "--twice-every", str(TWICE_EVERY), "--jobs", str(os.cpu_count() or 1)],
        check=False, stdout=subprocess.PIPE, text=True, timeout=PART_TIMEOUT_SECONDS)
    print(sweep.stdout, end="", flush=True)
    summary = re.search(r"^(\d+) seeds from \d+: \d+ failed \[(.*?)\], \d+ vacuous \[(.*?)\], "
                        r"\d+ unrepeatable \[(.*?)\]$", sweep.stdout, re.MULTILINE)
    if summary is None or int(summary[1]) != count:
        tally.fail(f"the sweep of {kind} seeds did not run them all and exited with {sweep.returncode}")
        return
    bad = sorted({int(seed) for seed in re.findall(r"\d+", " ".join(summary.groups()[1:]))})
    for seed in bad:
        tally.fail(f"{kind} seed {seed}; replay: {binary('shard-cache-sim')} run --seed {seed} {' '.join(shape)}")
    tally.passed += count - len(bad)
    if sweep.returncode != 0 and not bad:
        tally.fail(f"the sweep of {kind} seeds exited with {sweep.returncode}")


def run_contract(tally: Tally) -> None:
    """Starts a cluster on free ports and sends it the README's requests."""
    python = python_with_packages()
    with tempfile.TemporaryDirectory(prefix="shard-cache-contract-") as folder:
        environment = {**os.environ, "SHARD_CACHE_LOCAL_DIR": str(pathlib.Path(folder) / "cluster")}

        def local(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([binary(), "local", *arguments], check=False, capture_output=True, text=True,
                                  env=environment, timeout=PART_TIMEOUT_SECONDS)

        up = local("up", "-n", str(NODES), "--ports", "auto")
        try:
            if up.returncode != 0:
                tally.fail(f"the local cluster did not start: {up.stdout}{up.stderr}")
                return
            nodes = json.loads(local("status", "-o", "json").stdout)
            check_contract(tally, python, nodes)
        finally:
            down = local("down")
            if down.returncode != 0:
                tally.fail(f"the local cluster did not stop: {down.stdout}{down.stderr}")


def check_contract(tally: Tally, python: pathlib.Path, nodes: list[dict]) -> None:
    """Runs the contract check against running nodes and counts what it says."""
    arguments = [part for node in nodes for part in ("--node", f"127.0.0.1:{node['grpc_port']}:{node['http_port']}")]
    check = subprocess.run([python, ROOT / "tests" / "contract" / "check.py", *arguments], check=False,
                           capture_output=True, text=True, timeout=PART_TIMEOUT_SECONDS)
    print(check.stdout, end="")
    print(check.stderr, end="", file=sys.stderr)
    counts = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped", check.stdout, re.MULTILINE)
    if counts is None:
        tally.fail(f"the contract check said nothing and exited with {check.returncode}")
        return
    tally.passed += int(counts[1])
    tally.failed += int(counts[2])
    tally.skipped += int(counts[3])
    if int(counts[3]):
        tally.fail("the contract check skipped something")


def main() -> int:
    tally = Tally()
    run_cargo(tally)
    for name, part in (("build", lambda _: build()), ("simulator", run_simulator), ("contract check", run_contract)):
        try:
            part(tally)
        except (subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
            tally.fail(f"the {name} could not be run: {error!r}")
    for problem in tally.problems:
        print(f"problem: {problem}", file=sys.stderr)
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    return 1 if tally.failed or tally.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
