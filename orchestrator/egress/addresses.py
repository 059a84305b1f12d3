"""Which addresses may be reached from here: public ones, and networks that the operator allows.

A URL that a user registers is a request that our process sends from inside the operator's network. So an address is
public or it is refused, whatever form it comes in: IPv4 inside IPv6 counts as what it leads to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

__all__ = ["Address", "Network", "is_reachable"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            # The registries of IANA for special purposes (RFC 6890 and its updates). Releases of Python differ in what
            # `is_global` knows of them.
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            "168.63.129.16/32",  # public by its number, and inside each virtual network of Azure
            *("::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32"),
            *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
        ),
    )
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def is_reachable(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """True when requests may go there: it is public in every form, or in one of the networks that are allowed."""
    if any(_within(address, network) for network in allowed):
        return True
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return False
    forms = list(_forms(address))
    # An IPv4 address that IPv6 only wraps is judged alone: the wrapping is special by itself.
    judged = forms[1:] if len(forms) > 1 and _is_mapped(address) else forms
    return all(each.is_global and not any(_within(each, network) for network in _SPECIAL) for each in judged)


def _forms(address: Address) -> Iterator[Address]:
    """The address and the IPv4 addresses that it may lead to."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_mapped(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped is not None or address in _NAT64)


def _within(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
