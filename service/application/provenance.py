"""Where a result comes from: a record of inputs, network, rules, programs and outputs, signed.

The record names each input instance with the SHA-256 of its file, the network with that of its
file, the protocol, the versions of what ran, and each file of the result with its digest. The
signature (Ed25519) is over the record without its ``signature``, as canonical JSON: keys sorted,
no spaces, UTF-8. The same result signed again with the same key is the same record.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from service.application.artefact_names import media_type
from service.application.jobs import ModelIdentity
from service.application.report_terms import INTENDED_USE, ReportDocument

ProvenanceDocument: TypeAlias = dict[str, Any]
"""JSON values only."""

PROVENANCE_VERSION: Final = 1
SIGNATURE_ALGORITHM: Final = "Ed25519"

_LIBRARIES: Final = (
    "numpy",
    "scipy",
    "onnxruntime",
    "onnxruntime-gpu",
    "pydicom",
    "highdicom",
    "nibabel",
    "pillow",
    "reportlab",
    "python-gdcm",
    "pylibjpeg-openjpeg",
)
"""Programs of others that a result passes through; those that are not installed are left out."""

_CHUNK_BYTES: Final = 1024 * 1024


class Signer(Protocol):
    """Signs with a key that nobody else has."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes by which anybody can check a signature."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        ...


class SignatureCheck(Protocol):
    """Tells whether a signature is that of a key."""

    def __call__(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Return whether whoever holds the private key signed these bytes."""
        ...


@dataclass(frozen=True)
class InputInstance:
    """A file that was read: the instance in it and the digest of its bytes."""

    sop_instance_uid: str
    sha256: str


@dataclass(frozen=True)
class Artefact:
    """A file of a result."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Artefact:
        """Describe a file."""
        return cls(path.name, media_type(path.name), path.stat().st_size, sha256_of(path))


def provenance_document(
    document: ReportDocument,
    *,
    inputs: Iterable[InputInstance],
    artefacts: Iterable[Artefact],
    model: ModelIdentity | None,
    signer: Signer | None,
) -> ProvenanceDocument:
    """Return the record of a result, signed where there is a key."""
    record: ProvenanceDocument = {
        "provenance_version": PROVENANCE_VERSION,
        "intended_use": INTENDED_USE,
        "service_version": document["service_version"],
        "schema_version": document["schema_version"],
        "study_instance_uid": document["series"]["study_instance_uid"],
        "series_instance_uid": document["series"]["series_instance_uid"],
        "model": None if model is None else asdict(model),
        "protocol": document["protocol"],
        "runtime": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "libraries": _installed(_LIBRARIES),
        },
        "inputs": [asdict(one) for one in inputs],
        "artefacts": [asdict(one) for one in artefacts],
    }
    if signer is None:
        return {**record, "signature": None}
    return {
        **record,
        "signature": {
            "algorithm": SIGNATURE_ALGORITHM,
            "public_key": base64.b64encode(signer.public_key).decode("ascii"),
            "key_id": key_id(signer.public_key),
            "value": base64.b64encode(signer.sign(canonical_json(record))).decode("ascii"),
        },
    }


def inputs_of(sop_instance_uids: Sequence[str], paths: Sequence[Path]) -> list[InputInstance]:
    """Return the files behind the slices, each once; frames of one object share its file."""
    files = dict(zip(sop_instance_uids, paths, strict=True))
    return [InputInstance(uid, sha256_of(path)) for uid, path in files.items()]


def canonical_json(record: Mapping[str, Any]) -> bytes:
    """Return the bytes that are signed."""
    return json.dumps(
        record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def key_id(public_key: bytes) -> str:
    """Return the short name of a key: the first 16 digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class ProvenanceVerdict:
    """What checking a record found.

    ``problems`` says in a sentence each what is not as the record says; ``key_id`` is None where
    no signature is right. ``checked`` names what is.
    """

    key_id: str | None
    problems: tuple[str, ...]
    checked: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether everything that was checked is as the record says."""
        return not self.problems


def check_provenance(
    record: Mapping[str, Any],
    *,
    is_signature: SignatureCheck,
    expected_key: bytes | None = None,
    inputs: Sequence[InputInstance] | None = None,
    files: Mapping[str, str] | None = None,
    model: Mapping[str, Any] | None = None,
) -> ProvenanceVerdict:
    """Check a record: its signature, whose it is, its inputs, some of its files, its network.

    Parameters
    ----------
    is_signature
        Tells whether a signature is that of a key.
    expected_key
        Public key that must have signed; None accepts any key, and says which it was.
    inputs, files, model
        What is there: the files of the series, the SHA-256 of files of the result by name, the
        network as the report names it. None is not compared.
    """
    problems, checked = [], []
    name, complaint = _signature_of(record, is_signature, expected_key)
    if complaint:
        problems.append(complaint)
    elif name is not None:
        checked.append(f"signature of key {name}")
    if inputs is not None:
        found = {(one.sop_instance_uid, one.sha256) for one in inputs}
        recorded = {
            (one.get("sop_instance_uid"), one.get("sha256")) for one in _items(record, "inputs")
        }
        if found == recorded:
            checked.append(f"{len(found)} input instances")
        else:
            problems.append(
                f"The series is not what was scored: {len(recorded - found)} of "
                f"{len(recorded)} recorded instances are missing or other bytes, "
                f"{len(found - recorded)} are not recorded."
            )
    digests = {one.get("name"): one.get("sha256") for one in _items(record, "artefacts")}
    for file, sha256 in (files or {}).items():
        if digests.get(file) == sha256:
            checked.append(file)
        elif sha256 in digests.values():
            checked.append(f"{file} (recorded under another name)")
        else:
            problems.append(
                f"{file} is not a file of this result: its SHA-256 {sha256} is not in the record."
            )
    if model is not None:
        recorded_model = record.get("model")
        if isinstance(recorded_model, dict) and recorded_model.get("sha256") == model.get("sha256"):
            checked.append("network")
        else:
            problems.append("The record names another network than the report.")
    return ProvenanceVerdict(name, tuple(problems), tuple(checked))


def _signature_of(
    record: Mapping[str, Any], is_signature: SignatureCheck, expected_key: bytes | None
) -> tuple[str | None, str]:
    """Return the id of the key that signed, and what is wrong with the signature, if anything."""
    signature = record.get("signature")
    if not isinstance(signature, dict):
        return None, "The record is not signed."
    if signature.get("algorithm") != SIGNATURE_ALGORITHM:
        return None, (
            f"The signature is by {signature.get('algorithm')!r}; {SIGNATURE_ALGORITHM} is known."
        )
    try:
        public_key = base64.b64decode(str(signature.get("public_key")), validate=True)
        value = base64.b64decode(str(signature.get("value")), validate=True)
    except (Base64Error, ValueError):
        return None, "The signature or its key is no base64."
    signed = {key: part for key, part in record.items() if key != "signature"}
    if not is_signature(public_key, canonical_json(signed), value):
        return None, "The signature is not right: the record was changed after it was signed."
    name = key_id(public_key)
    if expected_key is not None and public_key != expected_key:
        return name, (
            f"The record was signed by the key {name}, not by the expected {key_id(expected_key)}."
        )
    return name, ""


def _items(record: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    found = record.get(field)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _installed(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
