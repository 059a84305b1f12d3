"""Hatchling asks this before it builds a wheel: without its links the package would be built empty, and say nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HOMES = ("sagas", "orchestrator", "workers", "api")


class LinksHook(BuildHookInterface[Any]):
    """Refuses a checkout in which the homes are not to be found where they are imported from."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        missing = [home for home in HOMES if not (Path(self.root) / "sagaline" / home / "__init__.py").is_file()]
        if missing:
            names = ", ".join(f"sagaline/{home}" for home in missing)
            raise SystemExit(
                f"{names}: no symbolic link to the folder of that name, so the wheel would lack it. This checkout was "
                "made without links (core.symlinks=false, which is usual on Windows): run `git config core.symlinks "
                "true` and `git checkout -- sagaline`, or build from the sdist"
            )
