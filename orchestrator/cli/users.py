"""Who sends an act."""

from __future__ import annotations

import getpass

from .options import Remote, Signed
from .remote import Json

__all__ = ["signature", "user"]


def user(remote: Remote | None, given: str | None) -> str:
    """The given name. By default the user name on this machine; with a token none: the API knows whose it is.

    ``remote`` None: nobody is asked.
    """
    if given is not None or (remote is not None and remote.token):
        return given or ""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def signature(remote: Remote, signed: Signed) -> Json:
    """The fields of a request that say who asks and why."""
    return {"reason": signed.reason, "by": user(remote, signed.by)}
