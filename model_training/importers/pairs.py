"""Any scans with masks, named in a table: DICOM, MetaImage, NRRD or NIfTI on either side.

A CSV file with a heading and the columns ``case_id``, ``patient``, ``series``, ``mask`` and
``labels``; the last may be left out, and so may ``patient`` where every case is another one. Paths
are relative to the table::

    case_id,patient,series,mask,labels
    a1,a,dicom/a1,masks/a1.nii.gz,
    a2,a,dicom/a2.zip,masks/a2.dcm,
    b1,b,ct/b1.nrrd,masks/b1_msk.nrrd,3=CORONARY
    c1,c,ct/c1.nii.gz,masks/c1.nii.gz,1=LM;2=LAD;3=LCX;4=RCA

``labels`` says which values of a mask are calcium; it does not apply to DICOM SEG, whose segments
carry codes.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from calcium_scoring.dicom.read_segmentation import read_segmentation
from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.errors import CacscoreError, MaskRejected, NoDicomFound
from calcium_scoring.nifti import read_mask, read_numpy_mask
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from model_training.importers.dicom_series import series_problems
from model_training.importers.imported_case import ImportedCase, ImportProblem, RefusedCase
from model_training.importers.itk_images import IMAGE_SUFFIXES, read_labels, read_volume

REQUIRED_COLUMNS: Final = ("case_id", "series", "mask")
LABEL_NAMES: Final[Mapping[str, int]] = {
    **{artery.name: artery.value for artery in Artery},
    "CORONARY": CORONARY,
}
_CASE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A case becomes a folder of this name."""

_NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")


@dataclass(frozen=True)
class ScanAndMask:
    """One line of the table; ``meanings`` is None where it says nothing of labels."""

    case_id: str
    patient: str
    series: Path
    mask: Path
    meanings: Mapping[int, int] | None


def read_pairs(table: Path) -> Iterator[ImportedCase | RefusedCase]:
    """Read the cases of a table, in its order.

    Raises
    ------
    ValueError
        If the table cannot be read, lacks a column, repeats a case or names an unknown label.
    """
    for pair in read_table(table):
        yield _read_case(pair)


def read_table(table: Path) -> list[ScanAndMask]:
    """Read and check a table without opening what it names; raises as :func:`read_pairs` does."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read as a CSV table: {error}") from error
    pairs: dict[str, ScanAndMask] = {}
    for number, line in enumerate(lines, start=2):
        cells = {key: (value or "").strip() for key, value in line.items() if key is not None}
        missing = [column for column in REQUIRED_COLUMNS if not cells.get(column)]
        if missing:
            raise ValueError(
                f"{table}, line {number}: {', '.join(missing)} missing; the columns are case_id, "
                "patient, series, mask, labels."
            )
        case_id = cells["case_id"]
        if not _CASE_ID.fullmatch(case_id):
            raise ValueError(
                f"{table}, line {number}: case_id {case_id!r} cannot name a folder; use letters, "
                "digits, dot, dash and underscore."
            )
        if case_id in pairs:
            raise ValueError(f"{table}, line {number}: case_id {case_id!r} is there already.")
        try:
            meanings = label_meanings(cells.get("labels", ""))
        except ValueError as error:
            raise ValueError(f"{table}, line {number}: {error}") from error
        pairs[case_id] = ScanAndMask(
            case_id,
            cells.get("patient") or case_id,
            table.parent / cells["series"],
            table.parent / cells["mask"],
            meanings,
        )
    if not pairs:
        raise ValueError(f"{table} names no case.")
    return list(pairs.values())


def label_meanings(text: str) -> dict[int, int] | None:
    """Return what ``1=LAD;2=LCX`` says, as labels by value; None for an empty text.

    Raises
    ------
    ValueError
        If a part is no ``value=NAME`` with a known name.
    """
    meanings = {}
    for part in filter(None, (one.strip() for one in text.split(";"))):
        value, _, name = part.partition("=")
        if not value.strip().isdecimal() or name.strip().upper() not in LABEL_NAMES:
            raise ValueError(
                f"{part!r} says no label; write value=NAME, separated by semicolons, with a name "
                f"of {', '.join(LABEL_NAMES)}."
            )
        meanings[int(value)] = LABEL_NAMES[name.strip().upper()]
    return meanings or None


def _read_case(pair: ScanAndMask) -> ImportedCase | RefusedCase:
    try:
        scan = _read_scan(pair.series)
        volume = scan.volume if isinstance(scan, CtSeries) else scan
        reference = _read_reference(pair, scan, volume)
    except CacscoreError as error:
        problem = ImportProblem.of_error(error)
        return RefusedCase(pair.case_id, pair.patient, pair.series, (problem,))
    problems = series_problems(scan) if isinstance(scan, CtSeries) else []
    if not reference.calcium_mask.any():
        problems.append(ImportProblem("empty_mask", "The mask marks no calcium."))
    return ImportedCase(pair.case_id, pair.patient, pair.series, volume, reference, tuple(problems))


def _read_scan(path: Path) -> CtSeries | CtVolume:
    if not path.exists():
        raise NoDicomFound(f"There is no {path.name}; the series is a folder, a zip or a volume.")
    if path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES):
        return read_volume(path)
    with tempfile.TemporaryDirectory(prefix="cacscore-") as workdir:
        return read_ct_series(path, Path(workdir))


def _read_reference(pair: ScanAndMask, scan: CtSeries | CtVolume, volume: CtVolume) -> LabelMap:
    name = pair.mask.name.lower()
    if not pair.mask.is_file():
        raise MaskRejected(f"There is no mask {pair.mask.name}.")
    if name.endswith(_NIFTI_SUFFIXES) and pair.meanings is None:
        return read_mask(pair.mask, volume.geometry)
    if name.endswith(IMAGE_SUFFIXES):
        return read_labels(pair.mask, volume.geometry, pair.meanings)
    if name.endswith(".npy"):
        return read_numpy_mask(pair.mask, volume.geometry)
    if not isinstance(scan, CtSeries):
        raise MaskRejected("A DICOM segmentation needs the DICOM series that it was made on.")
    return read_segmentation(pair.mask, scan)
