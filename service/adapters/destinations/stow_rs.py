"""Results to a DICOMweb service: one STOW-RS request with all objects (PS3.18 10.5)."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import ssl
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from service.adapters.destinations.places import StowDestination, pinned_address
from service.adapters.pinned_connection import Network, PinnedConnection
from service.application.pushes import Push, PushOutcome

LARGEST_ANSWER_BYTES: Final = 1024 * 1024
"""The answer names each object once; our choice."""

_CHUNK_BYTES: Final = 256 * 1024

_FAILED_SEQUENCE: Final = "00081198"
_FAILURE_REASON: Final = "00081197"
_REFERENCED_INSTANCE: Final = "00081155"

DUPLICATE: Final = 0x0111

_STORED: Final = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT})
"""Answers that say of each object what became of it (PS3.18 table 10.5.3-1)."""

_REFUSED: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    }
)
"""Answers that the same request would meet again; others may pass with a new key or a restart."""

_REFUSED_REASONS: Final = (
    range(0x0117, 0x0118),
    range(0x0122, 0x0123),
    range(0xA900, 0xAA00),
    range(0xC000, 0xD000),
)
"""Failure reasons that the same object would meet again (PS3.4 table B.2-1)."""


class StowSender:
    """A PushSender to one DICOMweb service."""

    def __init__(self, place: StowDestination, networks: Sequence[Network] = ()) -> None:
        self._place = place
        self._networks = tuple(networks)

    def send(
        self, push: Push, objects: Sequence[Path], is_still_ours: Callable[[], bool]
    ) -> PushOutcome:
        """Send these DICOM files in one request; no redirect is followed."""
        if not is_still_ours():
            return _not_sent(f"another sender has taken push {push.id} over")
        body = _Body(objects)
        try:
            connection = connection_to(self._place, self._networks)
            headers = {
                "Content-Type": body.content_type,
                "Content-Length": str(body.size_bytes),
                "Accept": "application/dicom+json",
                "User-Agent": "cacscore",
                **authorization(self._place),
            }
        except KeyError:
            return _not_sent("the variable with the secret of the destination is not set")
        except (OSError, ValueError) as error:
            return _not_sent(str(error) or type(error).__name__)
        try:
            path = urlsplit(self._place.url).path
            connection.request("POST", f"{path}/studies", iter(body), headers)
            answer = connection.getresponse()
            said = answer.read(LARGEST_ANSWER_BYTES)
        except ssl.SSLError:
            return _not_sent("the certificate or TLS of the host is not accepted")
        except (OSError, http.client.HTTPException) as error:
            return _not_sent(f"no answer ({type(error).__name__})")
        finally:
            connection.close()
        return outcome_of(answer.status, said, len(objects))

    def ask_for_commitment(self, push: Push, objects: Sequence[Path]) -> PushOutcome:  # noqa: ARG002
        """Say that there is none: the destination was a DICOM node when it was asked before."""
        return _not_sent("DICOMweb has no storage commitment")


def connection_to(place: StowDestination, networks: Sequence[Network]) -> PinnedConnection:
    """Return a connection, not opened yet; OSError or ValueError where the host has no address."""
    parts = urlsplit(place.url)
    host, is_secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_secure else 80)
    return PinnedConnection(
        host,
        port,
        pinned_address(host, port, networks),
        is_secure=is_secure,
        timeout_s=place.timeout_s,
        context=None if place.tls is None else place.tls.context(),
    )


def authorization(place: StowDestination) -> dict[str, str]:
    """Return the header with the secret, if there is one; OSError or KeyError if it is away."""
    try:
        secret = place.secret()
    except (OSError, UnicodeDecodeError) as error:
        # Where the operator keeps it is not for users to see.
        raise OSError("the file with the secret cannot be read") from error
    if secret is None:
        return {}
    if place.username is None:
        return {"Authorization": f"Bearer {secret}"}
    pair = base64.b64encode(f"{place.username}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


class _Body:
    """A multipart body of files, read as they are sent."""

    def __init__(self, files: Sequence[Path]) -> None:
        boundary = secrets.token_hex(16)
        self._files = tuple(files)
        self._head = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        self.size_bytes = sum(len(self._head) + file.stat().st_size for file in files)
        self.size_bytes += len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        for file in self._files:
            yield self._head
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    yield chunk
        yield self._tail


def outcome_of(status: int, said: bytes, object_count: int) -> PushOutcome:
    """Return what an answer means: HTTP status and, of each object, why it failed.

    An object that the service has already (reason 0111H) counts as stored: its UID is ours.
    """
    if status not in _STORED:
        return _not_sent(f"HTTP {status}", final=status in _REFUSED)
    reasons = [one for one in _failure_reasons(said) if one != DUPLICATE]
    if status == HTTPStatus.CONFLICT and not _failure_reasons(said):
        # Nothing was stored, and nothing is said of why.
        return _not_sent(f"HTTP {status}")
    if not reasons:
        return PushOutcome(is_sent=True, words=f"{object_count} objects stored")
    shown = ", ".join(f"{one:04X}H" for one in sorted(set(reasons)))
    return _not_sent(
        f"{len(reasons)} of {object_count} objects not stored, failure reason {shown}",
        final=any(reason in one for reason in reasons for one in _REFUSED_REASONS),
    )


def _failure_reasons(said: bytes) -> list[int]:
    """Return the failure reason of each object that is listed as failed; 0 where none is given."""
    try:
        document: Any = json.loads(said)
        if isinstance(document, list):
            document = document[0] if document else {}
        items = document.get(_FAILED_SEQUENCE, {}).get("Value", [])
        return [
            int(one.get(_FAILURE_REASON, {}).get("Value", [0])[0])
            for one in items
            if _REFERENCED_INSTANCE in one
        ]
    except (ValueError, TypeError, AttributeError, IndexError, KeyError):
        return []


def _not_sent(words: str, *, final: bool = False) -> PushOutcome:
    return PushOutcome(is_sent=False, words=words, is_refused=final)
