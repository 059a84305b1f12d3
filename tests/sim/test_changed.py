"""A run hunts the mistakes in what its branch changes; where git cannot tell, some of all."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .changed import changed_files, chosen
from .planted import Edit, Planted

MISTAKES = [
    Planted(f"{file}{number}", (Edit(file, "a", "b"),), ("ends",))
    for file in ("one.py", "two.py")
    for number in range(5)
]


def names(mistakes: list[Planted]) -> list[str]:
    return [each.name for each in mistakes]


def test_mistakes_in_changed_files_are_hunted() -> None:
    assert names(chosen(MISTAKES, {"two.py", "README.md"}, most=9)) == [f"two.py{number}" for number in range(5)]
    assert chosen(MISTAKES, {"README.md"}, most=9) == []


def test_of_more_than_are_allowed_an_even_sample_is_hunted() -> None:
    assert names(chosen(MISTAKES, {"one.py", "two.py"}, most=4)) == ["one.py0", "one.py3", "two.py1", "two.py4"]


def test_where_git_cannot_tell_a_sample_of_all_is_hunted(tmp_path: Path) -> None:
    assert changed_files(tmp_path) is None
    assert names(chosen(MISTAKES, None, most=2)) == ["one.py0", "two.py0"]


def git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *who, *arguments], cwd=root, capture_output=True, timeout=30, check=True)


def commit(root: Path, name: str) -> None:
    (root / name).write_text("a = 1\n")
    git(root, "add", name)
    git(root, "commit", "-m", name)


def test_a_branch_is_compared_with_where_it_left_the_main_one(tmp_path: Path) -> None:
    """Not with what the main one has become; the main one itself with its last commit."""
    git(tmp_path, "init")
    commit(tmp_path, "first.py")
    assert changed_files(tmp_path) is None, "there is no commit before"
    git(tmp_path, "switch", "-c", "branch")
    commit(tmp_path, "second.py")
    commit(tmp_path, "third.py")
    git(tmp_path, "switch", "main")
    commit(tmp_path, "elsewhere.py")
    assert changed_files(tmp_path) == {"elsewhere.py"}
    git(tmp_path, "switch", "branch")
    (tmp_path / "first.py").write_text("a = 2\n")
    assert changed_files(tmp_path) == {"first.py", "second.py", "third.py"}
