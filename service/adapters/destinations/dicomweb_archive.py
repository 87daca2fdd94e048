"""Asks an archive over DICOMweb: which series has it of a study (QIDO-RS), give them (WADO-RS)."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterable, Iterator, Sequence
from email.message import EmailMessage
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from calcium_scoring.dicom.queries import FoundSeries
from service.adapters.destinations.places import StowDestination
from service.adapters.destinations.stow_rs import authorization, connection_to
from service.adapters.pinned_connection import Network
from service.application.errors import ArchiveUnavailable

LARGEST_ANSWER_BYTES: Final = 512 * 1024 * 1024
"""Of one series of results; the largest masks have some ten MiB. Our choice."""

_SERIES_INSTANCE_UID: Final = "0020000E"
_MODALITY: Final = "00080060"
_JSON: Final = "application/dicom+json"
_INSTANCES: Final = 'multipart/related; type="application/dicom"'


class DicomWebArchive:
    """An archive that is asked over HTTP."""

    def __init__(self, place: StowDestination, networks: Sequence[Network] = ()) -> None:
        self._place = place
        self._networks = tuple(networks)

    @property
    def url(self) -> str:
        """Root of its DICOMweb service."""
        return self._place.url

    def check(self) -> None:
        """Ask for one study, whichever; ArchiveUnavailable where it does not answer that."""
        self._documents("/studies?limit=1", "QIDO-RS")

    def series(self, study_instance_uid: str) -> list[FoundSeries]:
        """Return the series that it has of a study; none of a study that it does not know."""
        documents = self._documents(
            f"/studies/{study_instance_uid}/series", "QIDO-RS", absent=HTTPStatus.NOT_FOUND
        )
        try:
            return [
                FoundSeries(
                    str(one[_SERIES_INSTANCE_UID]["Value"][0]), str(one[_MODALITY]["Value"][0])
                )
                for one in documents
            ]
        except (LookupError, TypeError) as error:
            raise ArchiveUnavailable(
                f"{self._place.url} answers QIDO-RS with a series that has no UID or modality."
            ) from error

    def fetch(self, study_instance_uid: str, series: Iterable[FoundSeries], folder: Path) -> None:
        """Fetch results by WADO-RS into files of a folder, named by number.

        Raises
        ------
        ArchiveUnavailable
            It answers with something else than the objects of the series.
        """
        number = 0
        for one in series:
            path = f"/studies/{study_instance_uid}/series/{one.series_instance_uid}"
            status, media_type, body = self._get(path, _INSTANCES)
            request = f"WADO-RS of {one.modality}"
            if status != HTTPStatus.OK:
                raise self._unusable(request, f"HTTP {status}")
            boundary = _boundary(media_type)
            if boundary is None:
                raise self._unusable(request, f"{media_type or 'no media type'}, not multipart")
            for content in _parts(body, boundary):
                (folder / f"{number}.dcm").write_bytes(content)
                number += 1

    def _documents(
        self, path: str, request: str, *, absent: int = HTTPStatus.NO_CONTENT
    ) -> list[Any]:
        status, _, body = self._get(path, _JSON)
        if status in {HTTPStatus.NO_CONTENT, absent}:
            return []
        if status != HTTPStatus.OK:
            raise self._unusable(request, f"HTTP {status}")
        try:
            documents = json.loads(body)
        except ValueError as error:
            raise self._unusable(request, "something that is not JSON") from error
        if not isinstance(documents, list):
            raise self._unusable(request, "JSON that is no list")
        return documents

    def _get(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Return status, media type and body of an answer; no redirect is followed."""
        place = self._place
        try:
            connection = connection_to(place, self._networks)
            headers = {"Accept": accept, "User-Agent": "cacscore", **authorization(place)}
        except KeyError as error:
            raise ArchiveUnavailable(f"The variable {error} is not set.") from error
        except (OSError, ValueError) as error:
            raise ArchiveUnavailable(f"{place.url} cannot be reached: {error}.") from error
        try:
            connection.request("GET", f"{urlsplit(place.url).path}{path}", headers=headers)
            answer = connection.getresponse()
            body = answer.read(LARGEST_ANSWER_BYTES + 1)
        except ssl.SSLError as error:
            raise ArchiveUnavailable(
                f"The certificate or TLS of {place.url} is not accepted."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ArchiveUnavailable(
                f"{place.url} does not answer ({type(error).__name__})."
            ) from error
        finally:
            connection.close()
        if len(body) > LARGEST_ANSWER_BYTES:
            raise self._unusable("a request", f"more than {LARGEST_ANSWER_BYTES} bytes")
        return answer.status, answer.headers.get("Content-Type", ""), body

    def _unusable(self, request: str, said: str) -> ArchiveUnavailable:
        return ArchiveUnavailable(f"{self._place.url} answers {request} with {said}.")


def _boundary(media_type: str) -> str | None:
    message = EmailMessage()
    message["Content-Type"] = media_type
    return message.get_boundary() if message.get_content_type() == "multipart/related" else None


def _parts(body: bytes, boundary: str) -> Iterator[bytes]:
    """Yield the contents of the parts of a multipart body."""
    for piece in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        if piece.startswith(b"--"):
            return
        yield piece.partition(b"\r\n\r\n")[2]
