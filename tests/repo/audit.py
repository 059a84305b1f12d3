"""``make audit``: advisories about the pinned dependencies, of Python and of the dashboard.

A source that knows no advisory of a release with well-known ones is none: then nothing was checked, and that is said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main", "verdict"]

ROOT = Path(__file__).parents[2]
KNOWN = "jinja2==2.10"
"""A release of 2018 with several advisories, in every source."""
_SERVICES = ("pypi", "osv")
_SECONDS = 300


def run(command: Sequence[str], folder: Path = ROOT) -> tuple[int, str, str]:
    """Exit status, and what it said."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return 1, "", f"no answer within {_SECONDS} s"
    return done.returncode, done.stdout, done.stderr


def vulnerable(output: str) -> list[str]:
    """What pip-audit has found, one line each; empty also where it could not look."""
    try:
        found: Any = json.loads(output)
    except ValueError:
        return []
    return [
        f"{each['name']} {each['version']}: {', '.join(advisory['id'] for advisory in each['vulns'])}"
        for each in found.get("dependencies", ())
        if each.get("vulns")
    ]


def verdict(known: Sequence[str], asked: tuple[int, str, str]) -> tuple[bool, str]:
    """Whether all is well, and what to say. ``known``: what the source says of ``KNOWN``; ``asked``: of the pins."""
    if not known:
        return False, f"no source reached: none knows an advisory about {KNOWN}, so nothing was checked"
    status, output, errors = asked
    if found := vulnerable(output):
        return False, "\n".join(["advisories:", *found])
    if status:
        return False, f"nothing was checked: {errors.strip().splitlines()[-1] if errors.strip() else 'no reason given'}"
    return True, "no known advisory"


def python(tool: str) -> tuple[bool, str]:
    known: list[str] = []
    for service in _SERVICES:
        command = [tool, "--format", "json", "--progress-spinner", "off", "--vulnerability-service", service]
        probe = ROOT / ".cache" / "audit-probe.txt"
        probe.write_text(f"{KNOWN}\n")
        known = vulnerable(run([*command, "--no-deps", "--disable-pip", "--requirement", str(probe)])[1])
        if known:
            pins = str(ROOT / "requirements" / "dev.txt")
            return verdict(known, run([*command, "--disable-pip", "--requirement", pins]))
    return verdict(known, (1, "", ""))


def dashboard(node: str) -> tuple[bool, str]:
    npm = next(iter(Path(node).resolve().parents[1].glob("lib/node_modules/npm/bin/npm-cli.js")), None)
    if npm is None:
        return False, "no npm beside node, so nothing was checked"
    status, output, errors = run([node, str(npm), "audit", "--json"], ROOT / "api" / "dashboard")
    try:
        found: Any = json.loads(output)
        counts = found["metadata"]["vulnerabilities"]
    except (ValueError, KeyError):
        said = (errors or output).strip().splitlines()
        return False, f"no source reached, so nothing was checked: {said[-1] if said else status}"
    return counts["total"] == 0, f"{counts['total']} advisories"


def main(arguments: Sequence[str]) -> int:
    tool, node = (str(Path(each).absolute()) for each in arguments)
    results = {"Python": python(tool), "dashboard": dashboard(node)}
    for what, (_, said) in results.items():
        print(f"audit of {what}: {said}")
    return 0 if all(well for well, _ in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
