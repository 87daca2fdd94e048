"""Destinations as the operator writes them down, in a YAML file that a person can read.

```yaml
networks: [10.20.0.0/16]
destinations:
  - name: pacs
    kind: c-store
    host: pacs.hospital.example
    port: 11112
    ae_title: PACS
    objects: [seg, sr, sc]
    storage_commitment: true
  - name: research
    kind: stow-rs
    url: https://archive.example.org/dicom-web
    token_file: /run/secrets/research-token
    automatic: false
```
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.adapters.pinned_connection import Address, Network, is_allowed, resolved
from service.application.errors import DestinationsUnusable
from service.application.pushes import COMMITMENT_WAIT, DestinationTerms, ObjectKind

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"

AE_TITLE_PATTERN: Final = r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$"
"""PS3.5 table 6.2-1: 16 characters at most, no backslash; here without spaces around."""

OWN_AE_TITLE: Final = "CACSCORE"

LARGEST_FILE_BYTES: Final = 1024 * 1024
"""Of the file of destinations, and of one with a secret; our choice."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Model):
    """How a connection is secured; every file is PEM."""

    ca_file: Path | None = None
    """Who signs the destination's certificate; the authorities of the system without it."""
    certificate_file: Path | None = None
    """Our certificate, where the destination asks for one; with ``key_file``."""
    key_file: Path | None = None

    @model_validator(mode="after")
    def _check_pair(self) -> Tls:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        return self

    def context(self) -> ssl.SSLContext:
        """Return what checks the destination and shows who we are; TLS 1.2 or later."""
        context = ssl.create_default_context(
            cafile=None if self.ca_file is None else str(self.ca_file)
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate_file is not None and self.key_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


class _Destination(_Model):
    name: str = Field(pattern=NAME_PATTERN)
    objects: frozenset[ObjectKind] = Field(default=frozenset(ObjectKind), min_length=1)
    automatic: bool = True
    timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """For each wait on the destination."""

    @property
    def terms(self) -> DestinationTerms:
        """What the destination is sent, and when."""
        return DestinationTerms(self.name, self.objects, self.automatic)


class CStoreDestination(_Destination):
    """A DICOM node."""

    kind: Literal["c-store"]
    host: str = Field(min_length=1, max_length=253)
    port: int = Field(ge=1, le=65535)
    ae_title: str = Field(pattern=AE_TITLE_PATTERN)
    our_ae_title: str = Field(default=OWN_AE_TITLE, pattern=AE_TITLE_PATTERN)
    tls: Tls | None = None
    storage_commitment: bool = False
    """Whether it is asked to commit to what it took, where it offers that."""
    commitment_wait_s: float = Field(
        default=COMMITMENT_WAIT.total_seconds(), ge=10, le=7 * 24 * 3600
    )
    """How long its report is waited for before it is asked again."""

    @property
    def terms(self) -> DestinationTerms:
        """What the destination is sent, and when."""
        wait = timedelta(seconds=self.commitment_wait_s)
        return replace(super().terms, commitment_wait=wait)


class StowDestination(_Destination):
    """The root of a DICOMweb service, such as ``https://host/dicom-web``."""

    kind: Literal["stow-rs"]
    url: str = Field(max_length=2048)
    username: str | None = None
    password_file: Path | None = None
    password_env: str | None = None
    token_file: Path | None = None
    token_env: str | None = None
    tls: Tls | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain:
            raise ValueError("must be http:// or https://, a host and perhaps a path")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_secrets(self) -> StowDestination:
        passwords = (self.password_file, self.password_env)
        tokens = (self.token_file, self.token_env)
        given = [one for one in (*passwords, *tokens) if one is not None]
        if len(given) > 1:
            raise ValueError("give one of password_file, password_env, token_file and token_env")
        if (self.username is None) != (passwords == (None, None)):
            raise ValueError("username goes with password_file or password_env")
        if given and urlsplit(self.url).scheme != "https" and not _is_loopback(self.url):
            raise ValueError("a secret is sent over https:// only, or to this machine")
        return self

    def secret(self) -> str | None:
        """Return password or token; read anew each time, so that it may be changed.

        Raises OSError or KeyError where it is not there.
        """
        file = self.password_file or self.token_file
        if file is not None:
            with file.open("rb") as stream:
                return stream.read(LARGEST_FILE_BYTES).decode().strip()
        name = self.password_env or self.token_env
        return None if name is None else os.environ[name]


Destination = Annotated[CStoreDestination | StowDestination, Field(discriminator="kind")]


class Destinations(_Model):
    """The whole file."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that names of hosts may lead to although they are not public."""
    destinations: tuple[Destination, ...] = ()

    @model_validator(mode="after")
    def _check_names(self) -> Destinations:
        names = [one.name for one in self.destinations]
        if len(set(names)) < len(names):
            raise ValueError("two destinations have the same name")
        return self

    @property
    def terms(self) -> dict[str, DestinationTerms]:
        """What each destination is sent, by name."""
        return {one.name: one.terms for one in self.destinations}


def read_destinations(path: Path | None) -> Destinations:
    """Read the file of destinations; none without a path.

    Raises
    ------
    DestinationsUnusable
        The file cannot be read, or says something else than destinations; names the place.
    """
    if path is None:
        return Destinations()
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_FILE_BYTES + 1)
        if len(text) > LARGEST_FILE_BYTES:
            raise DestinationsUnusable(path.name, f"it has more than {LARGEST_FILE_BYTES} bytes")
        return Destinations.model_validate(yaml.safe_load(text) or {})
    except OSError as error:
        raise DestinationsUnusable(path.name, type(error).__name__) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" at line {mark.line + 1}"
        raise DestinationsUnusable(path.name, f"it is not YAML{where}") from error
    except ValidationError as error:
        # What was written is left out: it may be a secret in the wrong place.
        complaints = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'file'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        )
        raise DestinationsUnusable(path.name, complaints) from error


def pinned_address(host: str, port: int, networks: Sequence[Network]) -> Address:
    """Look a host up, once, and return the address that may be connected to.

    An address that the operator wrote down is allowed as it is; a name must lead to public
    addresses or into the networks, whatever the name server says today.

    Raises OSError, whose text may be shown, where there is none.
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        addresses = resolved(host, port)
    except OSError as error:
        raise OSError("the host has no address") from error
    if not addresses or not all(is_allowed(one, networks) for one in addresses):
        raise OSError("the address of the host is not public and in none of the networks")
    return addresses[0]


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
