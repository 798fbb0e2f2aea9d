#!/usr/bin/env python3
"""Checks every dependency in Cargo.lock: its licence, its source, and that it is not banned. Works offline."""

import json
import os
import re
import subprocess
import sys

# Licences that may be combined with MIT. MPL-2.0 only by name, because it binds changes to its files.
LICENCES = {
    "0BSD", "Apache-2.0", "BSL-1.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}
LICENCES_BY_NAME = {"foca": "MPL-2.0"}
# Crate -> why it must not come in.
BANNED = {
    "openssl": "TLS is rustls",
    "openssl-sys": "TLS is rustls",
    "native-tls": "TLS is rustls",
    "serde_yaml": "archived; YAML is serde-saphyr",
    "serde_yml": "archived with an open soundness advisory; YAML is serde-saphyr",
}
# Known advisories that are accepted, with the reason.
ADVISORIES = {
    ("bincode", "2.0.1"): "RUSTSEC-2025-0141 (unmaintained): the format is complete and small, all decoding is length"
                          " limited, and 3.0.0 has no code; it sits behind one file in each crate that uses it",
    ("paste", "1.0.15"): "RUSTSEC-2024-0436 (unmaintained): a macro of tikv-jemalloc-ctl, at compile time only",
}
EXACT = {"bincode": "2.0.1"}


def licence_is_allowed(name: str, expression: str) -> bool:
    """Whether some choice of the expression's alternatives is allowed; AND binds all of its parts."""
    expression = expression.replace("/", " OR ")
    if LICENCES_BY_NAME.get(name) == expression:
        return True
    # Parentheses only ever group alternatives in the crates that we meet.
    parts = re.split(r"\s+AND\s+", expression)
    return all(
        any(choice.strip(" ()") in LICENCES for choice in re.split(r"\s+OR\s+", part)) for part in parts
    )


def main() -> int:
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "metadata", "--format-version", "1", "--locked", "--all-features"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    problems = []
    external = [package for package in metadata["packages"] if package["source"] is not None]
    registries = {package["source"] for package in external if package["source"].startswith("registry+")}
    if len(registries) > 1:
        problems.append(f"more than one registry: {sorted(registries)}")
    for package in external:
        name, version = package["name"], package["version"]
        label = f"{name} {version}"
        if not package["source"].startswith("registry+"):
            problems.append(f"{label}: comes from {package['source']}, not from the package registry")
        if name in BANNED:
            problems.append(f"{label}: banned: {BANNED[name]}")
        if name in EXACT and version != EXACT[name]:
            problems.append(f"{label}: must be exactly {EXACT[name]}")
        if not licence_is_allowed(name, package["license"] or ""):
            problems.append(f"{label}: licence {package['license']!r} is not on the list")
    for (name, version), reason in ADVISORIES.items():
        if not any(package["name"] == name and package["version"] == version for package in external):
            problems.append(f"{name} {version}: is not used any more, remove its exception ({reason})")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"dependencies: {len(external)} checked, {len(problems)} problems, {len(ADVISORIES)} accepted advisory")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
