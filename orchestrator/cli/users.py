"""Who sits at this machine: the name that an act bears when none is given."""

from __future__ import annotations

import getpass

__all__ = ["user"]


def user() -> str:
    """The name on this machine; empty when there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
