#!/usr/bin/env python3
"""Runs the checks that need tools besides Rust's. A tool that is absent is reported; in CI that is a failure."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def yaml_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.yaml", "*.yml"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return listed.stdout.split()


def main(scripts: list[str]) -> int:
    checks = {
        "shellcheck": ["shellcheck", *scripts],
        "yamllint": ["yamllint", "--strict", "-d", "{extends: default, rules: {line-length: {max: 120},"
                     " document-start: disable, comments: {min-spaces-from-content: 1}}}", *yaml_files()],
    }
    failed, absent = [], []
    for tool, command in checks.items():
        if shutil.which(tool) is None:
            absent.append(tool)
            continue
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            failed.append(tool)
        else:
            print(f"{tool}: ok")
    if absent:
        print(f"not installed, so not run: {', '.join(absent)}", file=sys.stderr)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    required = os.environ.get("CI") == "true"
    return 1 if failed or (absent and required) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
