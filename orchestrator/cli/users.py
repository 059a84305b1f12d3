"""The user's name: the default for acts."""

from __future__ import annotations

import getpass

__all__ = ["user"]


def user() -> str:
    """The user name on this machine; empty when there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
