"""Three nodes on loopback for a measurement, and their addresses. They are ended by leaving the `with`."""

import contextlib
import json
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def local_nodes(binary: str, directory: str, *settings: str) -> Iterator[list[dict]]:
    """What `local status` says of nodes that remember themselves in this directory. `settings` are of the form FIELD=VALUE."""
    def local(verb: str, *more: str) -> list[str]:
        return [binary, "local", verb, "--dir", directory, *more]

    flags = [f"--set={setting}" for setting in settings]
    subprocess.run(local("up", "-n", "3", "--ports", "auto", "--", *flags), check=True, stdout=subprocess.DEVNULL)
    try:
        status = subprocess.run(local("status", "-o", "json"), check=True, capture_output=True, text=True).stdout
        yield json.loads(status)
    finally:
        subprocess.run(local("down"), stdout=subprocess.DEVNULL, check=False)


def endpoints(nodes: list[dict]) -> list[str]:
    """The flags by which a command is told of them."""
    return [word for node in nodes for word in ("--endpoint", f"localhost:{node['grpc_port']}")]
