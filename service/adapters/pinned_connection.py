"""A connection to an address that was looked up once, checked, and is then the one that is used.

A name that means a harmless address when it is checked and another one a moment later (DNS
rebinding) therefore reaches nothing. Proxies of the environment are not asked.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: an IPv4 address in the last 32 bits."""


class PinnedConnection(http.client.HTTPConnection):
    """A connection to an address; the host is only named, in the header and to TLS."""

    def __init__(
        self,
        host: str,
        port: int,
        address: Address,
        *,
        is_secure: bool,
        timeout_s: float,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self.default_port = 443 if is_secure else 80
        self._address = address
        self._context = (context or ssl.create_default_context()) if is_secure else None
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect to the address that was checked."""
        plain = socket.create_connection((str(self._address), self.port), timeout=self._timeout_s)
        try:
            self.sock = (
                plain
                if self._context is None
                else self._context.wrap_socket(plain, server_hostname=self.host)
            )
        except BaseException:
            plain.close()
            raise


def resolved(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, in the order in which the system prefers them."""
    return [
        ipaddress.ip_address(str(address[0]).split("%", maxsplit=1)[0])
        for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    ]


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Tell whether an address is public or in one of the networks.

    An IPv6 address that carries an IPv4 one (mapped, 6to4, NAT64) is that one.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in networks if network.version == 6):
            return True
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_allowed(inner, networks)
        # Teredo tunnels to an IPv4 address that nobody checks.
        if address.teredo is not None:
            return False
    elif any(address in network for network in networks if network.version == 4):
        return True
    return address.is_global and not address.is_multicast and not address.is_reserved
