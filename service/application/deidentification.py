"""De-identification before anything is scored: the identified upload does not stay.

The gateway reads no DICOM, so an upload is stored as it came and waits like that. The first attempt
at a study writes the de-identified files beside it, remembers in the crosswalk who they were about,
and only then removes the upload: whatever is killed in between is done again, with the same result.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from service.application.artefact_names import DEIDENTIFIED, UPLOAD
from service.application.crosswalk import Crosswalk, CrosswalkEntry
from service.application.errors import ArtefactUnavailable

if TYPE_CHECKING:
    # The gateway and the commands need the crosswalk, and not what reads DICOM.
    from calcium_scoring.dicom.deidentify import DeidentificationOptions
    from calcium_scoring.upload.archive import ArchiveLimits
    from service.application.jobs import Claim
    from service.application.ports import ArtefactStore, StudyStore

_log = structlog.get_logger(__name__)

_FIRST_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""A constant date keeps the archive the same, byte for byte, whenever it is written."""

_OWN_RATIO: Final = 2000.0
"""Deflate packs 1032 : 1 at most: what we packed ourselves is no bomb."""

_HEADER_GROWTH_BYTES: Final = 1024 * 1024
"""A written header is shorter than the original one, but for the codes of what was done."""


@dataclass(frozen=True)
class Deidentifier:
    """How this service de-identifies."""

    key: bytes
    options: DeidentificationOptions
    crosswalk: Crosswalk


@contextmanager
def upload_to_score(
    claim: Claim,
    *,
    store: StudyStore,
    artefacts: ArtefactStore,
    limits: ArchiveLimits,
    deidentifier: Deidentifier | None,
    workdir: Path,
) -> Iterator[tuple[Path, ArchiveLimits]]:
    """Give the archive to score and the limits it is unpacked with.

    That is the upload; with a ``deidentifier``, or where an earlier job had one, its de-identified
    files. Raises what :func:`calcium_scoring.dicom.deidentify.deidentify_files` and
    :func:`calcium_scoring.upload.archive.files_of_upload` raise.
    """
    upload, made = f"{claim.folder}/{UPLOAD}", f"{claim.folder}/{DEIDENTIFIED}"
    is_made = _exists(artefacts, made)
    if deidentifier is None and not is_made:
        with artefacts.local_copy(upload) as path:
            yield path, limits
        return
    if deidentifier is not None and not is_made:
        archive = workdir / DEIDENTIFIED
        with artefacts.local_copy(upload) as path:
            entries = _deidentify(
                path,
                archive,
                tenant=store.tenant_of(claim.study_id),
                limits=limits,
                deidentifier=deidentifier,
                workdir=workdir,
            )
        deidentifier.crosswalk.add(claim.study_id, entries)
        artefacts.adopt(archive, made)
        _log.info("upload_deidentified", study_id=claim.study_id, job_id=claim.job_id)
    if deidentifier is not None:
        artefacts.remove(upload)
    with artefacts.local_copy(made) as path:
        yield path, _own_limits(limits)


def _exists(artefacts: ArtefactStore, key: str) -> bool:
    try:
        artefacts.open(key).close()
    except ArtefactUnavailable:
        return False
    return True


def _deidentify(
    upload: Path,
    archive: Path,
    *,
    tenant: str,
    limits: ArchiveLimits,
    deidentifier: Deidentifier,
    workdir: Path,
) -> list[CrosswalkEntry]:
    """Write the de-identified files of an upload into an archive; return who they are about."""
    from calcium_scoring.dicom.deidentify import deidentify_files  # noqa: PLC0415 - see above
    from calcium_scoring.dicom.pseudonyms import Pseudonyms  # noqa: PLC0415
    from calcium_scoring.upload.archive import files_of_upload  # noqa: PLC0415

    received, written = workdir / "received", workdir / "deidentified"
    received.mkdir()
    written.mkdir()
    made = deidentify_files(
        files_of_upload(upload, received, limits),
        written,
        Pseudonyms(deidentifier.key, tenant=tenant),
        deidentifier.options,
    )
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        for path in made.paths:
            entry = zipfile.ZipInfo(path.name, _FIRST_ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            with path.open("rb") as source, out.open(entry, "w") as target:
                while chunk := source.read(_HEADER_GROWTH_BYTES):
                    target.write(chunk)
            path.unlink()
    return [
        CrosswalkEntry(pseudonym, kind, original)
        for pseudonym, (kind, original) in made.originals.items()
    ]


def _own_limits(limits: ArchiveLimits) -> ArchiveLimits:
    """Return limits that an archive of our own keeps where the upload kept its own."""
    return replace(
        limits,
        archive_bytes=limits.archive_bytes + limits.total_bytes,
        total_bytes=limits.total_bytes + limits.entries * _HEADER_GROWTH_BYTES,
        entry_bytes=limits.entry_bytes + _HEADER_GROWTH_BYTES,
        multi_frame_entry_bytes=limits.multi_frame_entry_bytes + _HEADER_GROWTH_BYTES,
        entry_ratio=_OWN_RATIO,
        archive_ratio=_OWN_RATIO,
    )
