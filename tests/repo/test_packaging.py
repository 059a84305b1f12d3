"""What is shipped: sdist -> wheel -> an empty environment, in which every module imports and ``saga --help`` answers.

The empty environment has no pip and holds nothing but our wheel; a ``.pth`` file lends it the dependencies of the
environment that runs the tests. An editable install's own ``.pth`` is not followed from there, so what is imported
can only come from the wheel. Nothing is fetched: the build runs without isolation.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.repo.tree import HOMES, ROOT, files, module_name, modules

pytestmark = pytest.mark.slow

IMPORT_ALL = """
import importlib, sys
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert module.__file__ and module.__file__.startswith(sys.argv[1]), (name, module.__file__)
print(len(sys.argv[2:]), "imported")
"""


def run(command: Sequence[str | Path], cwd: Path) -> str:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=outside, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT], out)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds our wheel and borrows its dependencies."""
    root = tmp_path_factory.mktemp("empty") / "env"
    run([sys.executable, "-m", "venv", "--without-pip", root], root.parent)
    python = root / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", built[1]]
    run(install, root.parent)
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], root.parent).strip())
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("\n".join(sorted(paths)) + "\n")
    return root


def vendored() -> set[str]:
    """The third-party files of the dashboard: those of the import map, with their licences."""
    here = ROOT / "api" / "dashboard"
    imports = json.loads((here / "importmap.json").read_text())["imports"].values()
    found = {path for path in (here / "vendor").rglob("*") if path.is_file()}
    assert {here / address for address in imports} <= found, "run `python hatch_build.py`"
    packages = {address.rpartition("/dist/")[0].removesuffix("/hooks") for address in imports}
    assert not [each for each in packages if not (here / each / "LICENSE").is_file()]
    return {f"sagaline/{path.relative_to(ROOT)}" for path in found}


def expected() -> set[str]:
    """Where every committed file of the homes, and every file of the dashboard, must stand in the package."""
    homes = {f"sagaline/{path.relative_to(ROOT)}" for path in files() if path.relative_to(ROOT).parts[0] in HOMES}
    own = {f"sagaline/{path.name}" for path in (ROOT / "sagaline").glob("*.py")}
    return homes | own | {"sagaline/py.typed"} | vendored()


def test_the_wheel_holds_each_home_once_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(built[1]).namelist()
    assert len(names) == len(set(names))
    assert {name for name in names if ".dist-info/" not in name} == expected()
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_checkout_without_links_builds_no_wheel(tmp_path: Path) -> None:
    """Git writes the link's target into a file there (core.symlinks=false); the build says so and what to do."""
    clone = tmp_path / "clone"
    run(["git", "clone", "--quiet", "--config", "core.symlinks=false", ROOT, clone], tmp_path)
    for changed in ("pyproject.toml", "hatch_build.py"):  # also before they are committed
        shutil.copy(ROOT / changed, clone / changed)
    assert (clone / "sagaline" / "sagas").read_text() == "../sagas"
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, clone]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode != 0
    assert "sagaline/sagas, sagaline/orchestrator, sagaline/workers, sagaline/api: no symbolic link" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_the_sdist_holds_files_and_no_links(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if not (member.isfile() or member.isdir())]
    inside = {member.name.partition("/")[2] for member in members}
    assert expected() | {"pyproject.toml", "README.md", "LICENSE"} <= inside
    assert not [name for name in inside if name.split("/")[0] in HOMES], "a home is there twice"


def test_the_wheel_from_the_tree_is_the_wheel_from_the_sdist(built: tuple[Path, Path], tmp_path: Path) -> None:
    run([sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ROOT], tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(wheel).namelist()) == sorted(zipfile.ZipFile(built[1]).namelist())


@pytest.mark.long
def test_every_module_imports_from_the_installed_wheel(environment: Path, tmp_path: Path) -> None:
    names = ["sagaline", *(module_name(path) for path in modules(*HOMES) if path.name != "__main__.py")]
    said = run([environment / "bin" / "python", "-I", "-c", IMPORT_ALL, environment, *names], tmp_path)
    assert said.split() == [str(len(names)), "imported"]


def test_the_command_answers_from_the_installed_wheel(environment: Path, tmp_path: Path) -> None:
    said = run([environment / "bin" / "saga", "--help"], tmp_path)
    assert all(word in said for word in ("demo", "run", "worker", "api", "start", "list", "show", "cancel", "topics"))
