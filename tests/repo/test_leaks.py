"""What must never be committed: where somebody's machine keeps things, where it fetches them, and work left undone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repo.tree import ROOT, files

PATTERNS = {
    "an absolute path of one machine": re.compile(r"(?<![\w./-])/(?:home|root|Users)/[\w.-]+|[A-Z]:\\Users\\"),
    "a path in the folder for temporary files; take pytest's tmp_path": re.compile(r"(?<![\w./-])/(?:var/)?tmp/[\w-]+"),
    "the address of a package index": re.compile(
        r"--(?:extra-)?index-url|--find-links|--trusted-host|files\.python"
        r"hosted|registry\.npm"
        r"js|"
        r"https?://[\w.-]*(?:artifactory|nexus|proxy|mirror)[\w.-]*",
        re.IGNORECASE,
    ),
    "a host of a private network": re.compile(
        r"https?://(?:10\.\d|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|[\w.-]+\.(?:internal|intranet|corp|lan)\b)"
    ),
    "work left undone": re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b"),
    "the number of an issue": re.compile(r"\bissues? #?\d+\b|\bGH-\d+\b", re.IGNORECASE),
    "a key or token": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{30,}"),
}


def leaks(text: str) -> list[str]:
    """Complaints about one file, as ``line: what``."""
    return [
        f"{number}: {what}: {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in PATTERNS.items()
        if (match := pattern.search(line))
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (UnicodeDecodeError, FileNotFoundError):
        return ""


def test_no_committed_file_leaks() -> None:
    """This file, which has to plant what it looks for, is left out."""
    assert len(files()) > 50, "git lists almost nothing: is this a checkout?"
    found = [
        f"{path.relative_to(ROOT)}:{leak}" for path in files() if path != Path(__file__) for leak in leaks(_text(path))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "data = '/home/somebody/orders.db'",
        "cd /root/checkout && make",
        "open('/tmp/saga.db')",
        "--index-url https://somewhere.example/simple",
        "see https://artifactory.example.com/pypi",
        "http://10.1.2.3:8080/",
        "# TO" + "DO: later",
        "closes issue #12",
        "-----BEGIN RSA PRIVATE KEY",
    ],
)
def test_the_leak_check_catches_what_is_planted(text: str) -> None:
    assert len(leaks(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "GET /v1/instances/{id}",
        "docs/home/page.md",
        "${TMPDIR:-/tmp}",
        "http://127.0.0.1:8080/livez",
        "https://pypi.org/",
    ],
)
def test_the_leak_check_lets_plain_text_pass(text: str) -> None:
    assert not leaks(text)
