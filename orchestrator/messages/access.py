"""Who may do what: the roles of an identity, and the keys of the API in the table ``access.keys``."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Role"]


class Role(StrEnum):
    """What an identity is for; each is a set of permissions."""

    VIEWER = "viewer"
    STARTER = "starter"
    OPERATOR = "operator"
    ADMIN = "admin"
    WORKER = "worker"
