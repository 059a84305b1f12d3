"""Who asks, and what they may do.

A ``Principal`` is made once for each request, by the guard (``auth.py``), from the credential. Every route declares by
``needs`` the permission that it asks for; ``permitted`` runs before every route and denies one that declares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeVar

from fastapi import WebSocketException
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from ..orchestrator.client import Caller
from ..orchestrator.errors import DefinitionError, InvalidRequest
from ..orchestrator.messages.access import Role
from .problems import HttpProblem

__all__ = [
    "LOCAL",
    "Access",
    "Permission",
    "Principal",
    "declared",
    "caller_of",
    "needs",
    "permitted",
    "principal_of",
    "signed",
]

_DECLARED = "__sagaline_access__"
_POLICY_VIOLATION = 1008

M = TypeVar("M", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])


class Permission(StrEnum):
    """What a route asks for."""

    VIEW = "view"
    START = "start"
    OPERATE = "operate"
    ADMINISTER = "administer"
    WORK = "work"


Access = Permission | Literal["identity", "none"]
"""``identity``: any credential is enough; ``none``: the route is open (``auth.is_open`` must say the same)."""

How = Literal["local", "token", "key", "jwt"]

PERMISSIONS = {
    Role.VIEWER: frozenset({Permission.VIEW}),
    Role.STARTER: frozenset({Permission.VIEW, Permission.START}),
    Role.OPERATOR: frozenset({Permission.VIEW, Permission.START, Permission.OPERATE}),
    Role.ADMIN: frozenset(Permission) - {Permission.WORK},
    Role.WORKER: frozenset({Permission.WORK}),
}
_LEAST = {
    Permission.VIEW: Role.VIEWER,
    Permission.START: Role.STARTER,
    Permission.OPERATE: Role.OPERATOR,
    Permission.ADMINISTER: Role.ADMIN,
    Permission.WORK: Role.WORKER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks. ``how``: what proved it; ``local``: nothing, as no authentication is set up on this machine.

    ``groups``: what a question may be put to besides the name. ``proof``: the digest of a key or token; empty: of
    neither. ``until_ms``: when the credential ends, if that is known. ``csrf``: of a browser's session, what its
    requests that change something must say.
    """

    name: str
    role: Role
    groups: frozenset[str] = frozenset()
    permissions: frozenset[Permission]
    how: How
    proof: str = ""
    until_ms: int | None = None
    csrf: str = ""

    @classmethod
    def of(cls, name: str, role: Role, how: How, groups: Iterable[str] = (), *, proof: str = "") -> Principal:
        """An identity with the permissions of a role."""
        allowed = PERMISSIONS[role]
        return cls(name=name, role=role, groups=frozenset(groups), permissions=allowed, how=how, proof=proof)

    def check(self, permission: Permission) -> None:
        """Returns if this identity has the permission.

        Raises:
            HttpProblem: it has not; the message names the role that has.
        """
        if permission not in self.permissions:
            text = f"{self.name} has the role {self.role}; this needs the role {_LEAST[permission]}: use such a key"
            raise HttpProblem("not-permitted", text)


LOCAL = Principal(name="", role=Role.ADMIN, permissions=frozenset(Permission), how="local")
"""Everybody on this machine, where no authentication is set up."""


def needs(access: Access) -> Callable[[F], F]:
    """Declares what a route asks for; below the decorator of the route."""

    def declare(endpoint: F) -> F:
        setattr(endpoint, _DECLARED, access)
        return endpoint

    return declare


def declared(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], Access]:
    """What each route asks for, by its method in capitals (of a WebSocket ``WS``) and its path.

    Raises:
        DefinitionError: a route does not say.
    """
    found: dict[tuple[str, str], Access] = {}
    for route in routes:
        path = getattr(route, "path", repr(route))
        for method in sorted(getattr(route, "methods", None) or {"WS"}):
            access: Access | None = getattr(getattr(route, "endpoint", None), _DECLARED, None)
            if access is None:
                text = f"the route {method} {path} declares no permission; add @needs(...) below its decorator"
                raise DefinitionError(text)
            found[method, path] = access
    return found


async def permitted(connection: HTTPConnection) -> None:
    """Runs before every route: denies what its declaration does not allow to this identity.

    Raises:
        HttpProblem: not permitted; the message names the role that may.
        WebSocketException: the same for a WebSocket.
    """
    access: Access | None = getattr(connection.scope.get("endpoint"), _DECLARED, None)
    if access in ("none", "identity"):
        return
    if isinstance(access, Permission):
        try:
            principal_of(connection).check(access)
            return
        except HttpProblem as problem:
            text = str(problem)
    else:
        text = "this route declares no permission, so nobody may use it; its author must add @needs(…) to it"
    if connection.scope["type"] == "websocket":
        raise WebSocketException(_POLICY_VIOLATION, text)
    raise HttpProblem("not-permitted", text)


def principal_of(connection: HTTPConnection) -> Principal:
    """Who asks. The guard has put it there; without it nothing is served."""
    principal: Principal = connection.scope["state"]["principal"]
    return principal


def caller_of(connection: HTTPConnection, by: str) -> Caller:
    """Who sends an act: ``by`` of a request that was ``signed``, with the groups of its identity."""
    return Caller(by, tuple(sorted(principal_of(connection).groups)))


def signed(principal: Principal, model: M) -> M:
    """A request whose ``by``, if it has one, is who asks: it comes from the credential and never from the client.

    Without authentication it is what the client says.

    Raises:
        InvalidRequest: the client says another name. Field ``by``.
    """
    said = getattr(model, "by", None)
    if said is None or principal.how == "local":
        return model
    if said not in ("", principal.name):
        text = f"by is {said[:64]!r}, but this credential is of {principal.name!r}; omit by, or use a key of that name"
        raise InvalidRequest(text, field="by")
    return model.model_copy(update={"by": principal.name})
