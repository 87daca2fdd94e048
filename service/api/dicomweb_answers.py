"""Media types and bodies of DICOMweb answers (PS3.18 8.7)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from email.message import Message
from typing import Any, BinaryIO, Final

from service.api.errors import NotAcceptable
from service.api.negotiation import preferred_type
from service.application.result_instances import (
    AVAILABLE_TRANSFER_SYNTAX,
    MODALITIES_IN_STUDY,
    SERIES_UID,
    SOP_UID,
    STUDY_UID,
    Match,
    QueryLevel,
    StoredInstance,
)

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
JSON: Final = "application/json"
MULTIPART: Final = "multipart/related"

RETRIEVE_URL: Final = "00081190"
_INSTANCE_AVAILABILITY: Final = "00080056"
_STUDY_SERIES_COUNT: Final = "00201206"
_STUDY_INSTANCE_COUNT: Final = "00201208"
_SERIES_INSTANCE_COUNT: Final = "00201209"

_CHUNK_BYTES: Final = 256 * 1024


def require_json(accept: str) -> str:
    """Return the type of a JSON answer; NotAcceptable where neither type is accepted."""
    chosen = preferred_type(accept, (DICOM_JSON, JSON))
    if chosen is None:
        raise NotAcceptable(
            f"The answer is available as {DICOM_JSON} and {JSON}.", available=[DICOM_JSON, JSON]
        )
    return chosen


def accepts_single(accept: str) -> bool:
    """Tell whether an object is wanted as it is, without a multipart body around it.

    Raises NotAcceptable where objects are wanted in no form that there is: as multipart/related of
    application/dicom in the transfer syntax in which they are stored.
    """
    for wish in _wishes(accept):
        media_type = wish.get_content_type() if "/" in str(wish["Content-Type"]) else ""
        if media_type == DICOM:
            return True
        inner = wish.get_param("type") or DICOM
        if media_type in {MULTIPART, "multipart/*"} and inner in {DICOM, "*/*", "application/*"}:
            return False
        if str(wish["Content-Type"]).split(";")[0].strip() == "*/*":
            return False
    available = [f'{MULTIPART}; type="{DICOM}"; transfer-syntax=*', DICOM]
    raise NotAcceptable(
        "Objects are available as multipart/related of application/dicom, or one by itself as "
        "application/dicom; as they are stored, in no other transfer syntax.",
        available=available,
    )


def _wishes(accept: str) -> Iterator[Message]:
    for part in accept.split(","):
        wish = Message()
        wish["Content-Type"] = part.strip() or "*/*"
        yield wish


def matched(match: Match, level: QueryLevel, root: str) -> dict[str, Any]:
    """Return a match as DICOM JSON, with counts and the URL of its objects below ``root``."""
    found = dict(match.attributes)
    found[_INSTANCE_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
    found[RETRIEVE_URL] = {"vr": "UR", "Value": [url_of(match.attributes, level, root)]}
    if level is QueryLevel.STUDY:
        found[MODALITIES_IN_STUDY] = {"vr": "CS", "Value": list(match.modalities)}
        found[_STUDY_SERIES_COUNT] = {"vr": "IS", "Value": [match.series_count]}
        found[_STUDY_INSTANCE_COUNT] = {"vr": "IS", "Value": [match.instance_count]}
    if level is QueryLevel.SERIES:
        found[_SERIES_INSTANCE_COUNT] = {"vr": "IS", "Value": [match.instance_count]}
    return dict(sorted(found.items()))


def url_of(attributes: dict[str, Any], level: QueryLevel, root: str) -> str:
    """Return the URL of a study, series or instance."""
    url = f"{root}/studies/{attributes[STUDY_UID]['Value'][0]}"
    if level is not QueryLevel.STUDY:
        url += f"/series/{attributes[SERIES_UID]['Value'][0]}"
    if level is QueryLevel.INSTANCE:
        url += f"/instances/{attributes[SOP_UID]['Value'][0]}"
    return url


class MultipartObjects:
    """A multipart/related body of DICOM files, read as they are sent.

    ``opened`` are the first file, so that one that is away is known before the answer begins, and
    what opens any other.
    """

    def __init__(self, instances: Sequence[StoredInstance], files: Iterator[BinaryIO]) -> None:
        boundary = secrets.token_hex(16)
        self._instances = instances
        self._files = files
        self._boundary = boundary
        self.media_type = f'{MULTIPART}; type="{DICOM}"; boundary={boundary}'

    def __iter__(self) -> Iterator[bytes]:
        for instance, file in zip(self._instances, self._files, strict=True):
            syntax = instance.text(AVAILABLE_TRANSFER_SYNTAX)
            yield (
                f"\r\n--{self._boundary}\r\nContent-Type: {DICOM}; transfer-syntax={syntax}\r\n\r\n"
            ).encode()
            with file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        yield f"\r\n--{self._boundary}--\r\n".encode()
