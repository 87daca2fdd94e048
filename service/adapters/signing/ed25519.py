"""Ed25519 signatures (RFC 8032), with a key in a file that only its owner can read."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from service.application.errors import SigningKeyUnusable


class Ed25519Signer:
    """A Signer with the key of a file (PEM, PKCS #8), which is made at first use with mode 0600.

    Raises
    ------
    SigningKeyUnusable
        When the key is first used: the file cannot be read or written, or holds no such key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: Ed25519PrivateKey | None = None

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._loaded().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def public_pem(self) -> str:
        """The public key as PEM, as ``openssl pkey`` reads it."""
        return (
            self._loaded()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            .decode("ascii")
        )

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes; the same for the same message."""
        return self._loaded().sign(message)

    def _loaded(self) -> Ed25519PrivateKey:
        if self._key is None:
            try:
                if not self._path.exists():
                    _make_key(self._path)
                key = load_pem_private_key(self._path.read_bytes(), password=None)
            except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
                raise SigningKeyUnusable(self._path.name, type(error).__name__) from error
            if not isinstance(key, Ed25519PrivateKey):
                raise SigningKeyUnusable(self._path.name, "another kind of key")
            self._key = key
        return self._key


def is_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature of a message is that of a key; False too where it is no key."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_public_key(path: Path) -> bytes:
    """Return the 32 bytes of a public key in PEM; SigningKeyUnusable where it is none."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyUnusable(path.name, type(error).__name__) from error
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyUnusable(path.name, "another kind of key")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _make_key(path: Path) -> None:
    """Make a key; where two processes do so at once, both take the one that came first."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside it (mode 0600) and linked: the file is complete when it appears.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
