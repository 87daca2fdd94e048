"""A POST to an address that was looked up once, checked, and is then the one that is connected to.

A name that means a harmless address when it is checked and another one a moment later (DNS
rebinding) therefore reaches nothing. Redirects are not followed, proxies of the environment are
not asked, and the answer's body is not read.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from service.adapters.pinned_connection import (
    Address,
    Network,
    PinnedConnection,
    is_allowed,
    resolved,
)
from service.application.webhooks import Outcome

TIMEOUT_S: Final = 10.0
"""For connecting, and for each wait on the receiver; our choice."""


class PinnedHttpSender:
    """A WebhookSender over HTTP/1.1.

    Parameters
    ----------
    networks
        Networks that may be reached although they are not public, such as that of a hospital.
    resolve
        Returns all addresses of a host and port.
    """

    def __init__(
        self,
        networks: Sequence[Network] = (),
        *,
        timeout_s: float = TIMEOUT_S,
        resolve: Callable[[str, int], Sequence[Address]] | None = None,
    ) -> None:
        self._networks = tuple(networks)
        self._timeout_s = timeout_s
        self._resolve = resolve or resolved

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Outcome:
        """Send a body to exactly this URL."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_secure = parts.scheme == "https"
        port = parts.port or (443 if is_secure else 80)
        try:
            addresses = self._resolve(host, port)
        except OSError:
            return Outcome(None, "the host has no address")
        # One bad address is enough: which one a name means is not ours to choose.
        if not addresses or not all(is_allowed(one, self._networks) for one in addresses):
            return Outcome(None, "the address of the host is not allowed")
        connection = PinnedConnection(
            host, port, addresses[0], is_secure=is_secure, timeout_s=self._timeout_s
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("POST", target, body, headers)
            status = connection.getresponse().status
        except ssl.SSLError:
            return Outcome(None, "the certificate or TLS of the host is not accepted")
        except (OSError, http.client.HTTPException) as error:
            return Outcome(None, f"no answer ({type(error).__name__})")
        finally:
            connection.close()
        return Outcome(status, f"HTTP {status}")
