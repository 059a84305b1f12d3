"""The name under which a request came, and whether that is this machine."""

from __future__ import annotations

import ipaddress

from starlette.requests import HTTPConnection

__all__ = ["host_of", "is_loopback"]


def is_loopback(host: str) -> bool:
    """True when a host, by name or address, is certainly this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def host_of(connection: HTTPConnection) -> str:
    """The host of the request, without its port."""
    host = connection.headers.get("host", "")
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
