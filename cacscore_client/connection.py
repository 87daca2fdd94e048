"""How both clients reach a service: address, key, patience, and files that arrive whole."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypedDict

import httpx

from cacscore_client.documents import Artefact
from cacscore_client.errors import DigestMismatch, InvalidUrl, UnexpectedAnswer

API_KEY_VARIABLE: Final = "CACSCORE_API_KEY"

CHUNK_BYTES: Final = 1 << 20
"""How much of an archive is read, and sent, at a time."""

READ_TIMEOUT_S: Final = 120.0
"""Waits for the gateway to look through a large archive. Our choice."""


def timeout_of(*, read_s: float = READ_TIMEOUT_S) -> httpx.Timeout:
    """Return how long to wait for each step of a request, in seconds."""
    return httpx.Timeout(connect=10.0, read=read_s, write=120.0, pool=10.0)


TIMEOUT: Final = timeout_of()

MAX_BUSY_ANSWERS: Final = 10
"""How often 429 or 503 in a row is waited out. Our choice."""


class HttpOptions(TypedDict):
    """What an httpx client is made of, synchronous or not."""

    base_url: str
    timeout: httpx.Timeout
    headers: dict[str, str]
    trust_env: bool


def http_options(url: str, api_key: str | None) -> HttpOptions:
    """Return how to reach a service; InvalidUrl where that is no address of one.

    Without ``api_key`` the environment is asked for it.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidUrl(f"{url!r} is not a URL: {error}.") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidUrl(f"{url!r} is not a URL of a service; http://host:port is accepted.")
    key = api_key or os.environ.get(API_KEY_VARIABLE)
    return {
        "base_url": url.rstrip("/"),
        "timeout": TIMEOUT,
        "headers": {} if not key else {"Authorization": f"Bearer {key}"},
        # A proxy of the environment would look for this machine's service on itself.
        "trust_env": not is_this_machine(parsed.host),
    }


def is_this_machine(host: str) -> bool:
    """Tell whether a host of a URL is the machine that asks."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


class ArrivingFile:
    """A file beside its target until it is whole; nothing is left of one that is not."""

    def __init__(self, target: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        self._stream = os.fdopen(descriptor, "wb")
        self._arriving = Path(name)
        self._target = target
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        self._stream.write(chunk)
        self._digest.update(chunk)

    def keep(self, artefact: Artefact | None) -> None:
        """Give the file its name; DigestMismatch where it is not the one that was listed."""
        self._stream.close()
        if artefact is not None:
            check_digest(artefact, self._digest.hexdigest())
        # As open() would have made it; a temporary file is its owner's alone.
        umask = os.umask(0)
        os.umask(umask)
        self._arriving.chmod(0o666 & ~umask)
        self._arriving.replace(self._target)

    def close(self) -> None:
        """Remove what did not arrive."""
        self._stream.close()
        self._arriving.unlink(missing_ok=True)


@contextlib.contextmanager
def arriving(target: Path) -> Iterator[ArrivingFile]:
    """Give a file that is removed unless it is kept."""
    file = ArrivingFile(target)
    try:
        yield file
    finally:
        file.close()


def check_digest(artefact: Artefact, found_sha256: str) -> None:
    """Raise DigestMismatch where the bytes are not those of the list."""
    if found_sha256 != artefact["sha256"]:
        raise DigestMismatch(
            artefact["name"], expected_sha256=artefact["sha256"], found_sha256=found_sha256
        )


def target_in(folder: Path, artefact: Artefact) -> Path:
    """Return where a file of the list is kept; a name that leads elsewhere is not followed."""
    name = artefact["name"]
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UnexpectedAnswer(f"The service lists a file of the name {name!r}, which is no name.")
    return folder / name
