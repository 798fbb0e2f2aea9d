#!/usr/bin/env python3
"""Checks the image and the compose file as a user meets them: the README's docker-compose commands as they stand there
(`up -d`, `ps`, `logs -f`, `down`), its requests at each of the three published ports, a stop in order, and that nothing
is left. Needs a Docker engine and the image (`make docker`); pulls nothing. One line per check, then "N passed, M failed".

Exit code 0 when nothing failed, 1 when something did, 4 when no Docker engine answers.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import run

PROJECT = f"shard-cache-check-{os.getpid()}"
IMAGE = os.environ.get("SHARD_CACHE_IMAGE", "shard-cache:latest")
IMAGE_BYTES_MAX = 40_000_000
NODES = ["shardcache-node1", "shardcache-node2", "shardcache-node3"]
# As docker-compose.yml publishes them unless told otherwise.
PORTS = [(8080, 8081), (8082, 8083), (8084, 8085)]
HEALTHY_SECONDS = 60
COMMAND_SECONDS = 120
FOLLOW_SECONDS = 3
# A node that leaves in order gives notice for 1 s and lingers for 2 s; its grace before SIGKILL is 65 s.
DOWN_SECONDS_MAX = 40
# What the caller's environment says of ports is for the caller's own cluster.
ENVIRONMENT = {name: text for name, text in os.environ.items() if not name.startswith("SHARD_CACHE_NODE")}
ENVIRONMENT |= {"SHARD_CACHE_IMAGE": IMAGE, "COMPOSE_PROJECT_NAME": PROJECT}


def output(*command: str) -> str:
    """What a command prints; raises with what it complains about when it fails."""
    done = subprocess.run(command, cwd=run.ROOT, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
                          env=ENVIRONMENT)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def compose_command() -> list[str]:
    """`docker compose` or `docker-compose`, whichever is there."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise RuntimeError("neither `docker compose` nor docker-compose is installed")


def containers() -> dict[str, str]:
    """Service name to container id of this project."""
    listed = output("docker", "ps", "--all", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format",
                    '{{.ID}} {{.Label "com.docker.compose.service"}}')
    pairs = [line.split() for line in listed.splitlines()]
    return {service: container for container, service in pairs}


def state(container: str) -> dict:
    return json.loads(output("docker", "inspect", "--format", "{{json .State}}", container))


def check_image() -> None:
    image = json.loads(output("docker", "image", "inspect", IMAGE))[0]
    assert image["Size"] < IMAGE_BYTES_MAX, f"the image has {image['Size']} bytes"
    user = image["Config"]["User"]
    assert user and not user.startswith(("0", "root")), f"the image runs as {user!r}"
    assert image["Config"]["Healthcheck"]["Test"] == ["CMD", "/shard-cache", "healthcheck"], "no health check"
    assert "shard-cache" in output("docker", "run", "--rm", "--network=none", IMAGE, "version")
    container = output("docker", "create", IMAGE).strip()
    try:
        exported = subprocess.run(f"docker export {container} | tar --list --verbose", shell=True, check=True,
                                  capture_output=True, text=True).stdout
    finally:
        output("docker", "rm", container)
    modes = {line.split()[-1]: line.split()[0] for line in exported.splitlines()}
    assert modes.get("tmp/") == "drwxrwxrwt", f"/tmp is {modes.get('tmp/')}"


def await_healthy() -> None:
    deadline = time.monotonic() + HEALTHY_SECONDS
    while True:
        health = {service: state(container)["Health"]["Status"] for service, container in containers().items()}
        if sorted(health) == NODES and set(health.values()) == {"healthy"}:
            return
        assert time.monotonic() < deadline, f"not healthy after {HEALTHY_SECONDS} s: {health}"
        time.sleep(0.2)


def check_contract() -> None:
    tally = run.Tally()
    nodes = [{"grpc_port": grpc, "http_port": http} for grpc, http in PORTS]
    run.check_contract(tally, run.python_with_packages(), nodes)
    assert tally.failed == 0 and tally.passed > 0, f"{tally.failed} of the requests failed: {tally.problems}"


def documented(compose: list[str], verb: str) -> list[str]:
    """The README's docker-compose command with this verb, for the compose tool that is there."""
    lines = re.findall(rf"^ *docker-compose ({verb}\b.*)$", (run.ROOT / "README.md").read_text(), re.MULTILINE)
    assert lines, f"README.md has no docker-compose {verb}"
    return [*compose, *lines[0].split()]


def check_up(compose: list[str]) -> None:
    output(*documented(compose, "up"))


def check_down(compose: list[str]) -> None:
    began = time.monotonic()
    output(*documented(compose, "down"))
    took = time.monotonic() - began
    assert took < DOWN_SECONDS_MAX, f"it took {took:.0f} s: the nodes did not leave by themselves"


def check_ps(compose: list[str]) -> None:
    listed = output(*documented(compose, "ps"))
    assert all(node in listed for node in NODES), listed


def check_logs(compose: list[str]) -> None:
    command = documented(compose, "logs")
    with subprocess.Popen(command, cwd=run.ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as follower:
        try:
            logs, _ = follower.communicate(timeout=FOLLOW_SECONDS)
        except subprocess.TimeoutExpired:
            follower.terminate()
            logs, _ = follower.communicate()
    lines = [line[line.index("{"):] for line in logs.splitlines() if "{" in line]
    messages = [json.loads(line)["message"] for line in lines]
    assert "started" in messages, messages


def check_stop() -> None:
    container = containers()["shardcache-node2"]
    output("docker", "stop", "--time", "60", container)
    code = state(container)["ExitCode"]
    assert code == 0, f"a node that was stopped in order exited with {code}"


def check_nothing_left() -> None:
    label = f"label=com.docker.compose.project={PROJECT}"
    left = output("docker", "ps", "--all", "--quiet", "--filter", label)
    left += output("docker", "network", "ls", "--quiet", "--filter", label)
    left += output("docker", "volume", "ls", "--quiet", "--filter", label)
    assert not left, f"left behind: {left}"


def interrupted(number: int, _frame: object) -> None:
    # As an exception, so that what was started is removed.
    raise SystemExit(128 + number)


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        output("docker", "info")
    except (OSError, RuntimeError) as error:
        print(f"no Docker engine answers: {error}", file=sys.stderr)
        return 4
    passed, failed = 0, 0

    def check(what: str, action, *arguments) -> bool:
        nonlocal passed, failed
        began = time.monotonic()
        try:
            action(*arguments)
        except (AssertionError, RuntimeError, KeyError, ValueError, subprocess.SubprocessError, OSError) as error:
            failed += 1
            print(f"FAILED  {what}: {error}", flush=True)
            return False
        passed += 1
        print(f"ok      {what} ({time.monotonic() - began:.1f} s)", flush=True)
        return True

    check("the image: size, user, health check, /tmp, runs", check_image)
    compose = compose_command()
    try:
        if check("up -d", check_up, compose) and check("all healthy", await_healthy):
            check("the README's requests through 127.0.0.1", check_contract)
            check("ps", check_ps, compose)
            check("logs -f shardcache-node1", check_logs, compose)
            check("a node that is stopped in order exits with 0", check_stop)
    finally:
        check("down", check_down, compose)
        check("nothing is left", check_nothing_left)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
