"""The locks of other languages (the examples, the dashboard) pin every package by its digest and name no registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.repo.tree import ROOT, files

EXAMPLES = ROOT / "docs" / "examples"


def complaints(lock: dict[str, Any]) -> list[str]:
    packages = {name: each for name, each in lock["packages"].items() if name}
    return [
        *(f"{name}: no integrity" for name, each in packages.items() if "integrity" not in each),
        *(
            f"{name}: it names its registry; npm install --omit-lockfile-registry-resolved"
            for name, each in packages.items()
            if "resolved" in each
        ),
    ]


@pytest.mark.parametrize("folder", [EXAMPLES / "typescript-worker", ROOT / "api" / "dashboard"])
def test_the_npm_lock_has_a_digest_for_every_package_and_no_address(folder: Path) -> None:
    lock = json.loads((folder / "package-lock.json").read_text())
    assert len(lock["packages"]) > 3
    assert complaints(lock) == []


def test_the_lock_check_finds_an_address_and_a_missing_digest() -> None:
    found = complaints({"packages": {"": {}, "node_modules/a": {"resolved": "https://x", "version": "1"}}})
    assert [each.partition(":")[2].split(";")[0] for each in found] == [" no integrity", " it names its registry"]


def test_every_go_module_of_the_lock_has_its_digests() -> None:
    required = [line.split() for line in (EXAMPLES / "go-worker" / "go.mod").read_text().splitlines()]
    modules = {
        (words[-4], words[-3]) if words[-1] == "indirect" else (words[-2], words[-1])
        for words in required
        if len(words) > 1 and words[-1].startswith(("v", "indirect"))
    }
    locked = {tuple(line.split()[:2]) for line in (EXAMPLES / "go-worker" / "go.sum").read_text().splitlines()}
    assert modules
    assert modules <= locked


def test_nothing_that_was_built_or_fetched_is_committed() -> None:
    here = [path.relative_to(EXAMPLES) for path in files() if path.is_relative_to(EXAMPLES)]
    assert here
    assert [path for path in here if path.suffix not in (".go", ".ts", ".mod", ".sum", ".json", ".md")] == []
