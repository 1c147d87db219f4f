"""Refuses connections to private addresses, because clients choose URLs and the server may be inside a network.

Downloads run in the Python process of the worker, so an audit hook sees all connections, also those of redirects.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from typing import cast

from upscaling.errors import Code, UpscalingError
from upscaling.weights.trusted import is_trusted

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all IPv6 addresses that IANA has allocated so far
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def refuse_private_addresses() -> None:
    """Refuses connections to non-public addresses with E_INPUT from now on; this cannot be undone.

    UPSCALING_PRIVATE_URLS=1 disables this, for object stores inside one's own network.
    """
    if os.environ.get("UPSCALING_PRIVATE_URLS") != "1":
        sys.addaudithook(_check)


def is_global(host: str) -> bool:
    """Whether a numeric address is public, also if it is an IPv4 address embedded in IPv6."""
    try:
        address: _Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False  # a host name, which could resolve to another address when the connection is made
    if isinstance(address, ipaddress.IPv6Address):
        address = _unwrapped(address)
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False  # includes obsolete and translation ranges that Python does not treat as private
    return address.is_global and not address.is_multicast


def _unwrapped(address: ipaddress.IPv6Address) -> _Address:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _check(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect" or is_trusted():
        return
    connecting, address = arguments
    if not isinstance(connecting, socket.socket) or connecting.family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = str(cast("tuple[object, ...]", address)[0]) if isinstance(address, tuple) else ""
    if not is_global(host):
        raise UpscalingError(
            Code.INPUT,
            f"the URL leads to {host}, which is not a public address; send the picture itself,"
            " or set UPSCALING_PRIVATE_URLS=1 if all clients are trusted.",
        )
