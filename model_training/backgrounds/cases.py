"""Training cases from marked scans: other calcium each time, some of them without any."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from model_training.backgrounds.insertion import InsertedScan, insert_calcium
from model_training.backgrounds.marks import ScanMarks
from model_training.backgrounds.scan import Background, load_background
from model_training.backgrounds.variation import InsertionSettings, sample_settings
from model_training.cases import CASE_FILE, Attribute, TrainingCase, read_case, write_case

_SETTINGS_STREAM: Final = 1
_CALCIUM_STREAM: Final = 2


def background_cases(
    root: Path, marks: Sequence[ScanMarks], data: Path, *, first: int, count: int
) -> Iterator[TrainingCase]:
    """Yield ``count`` training cases of each scan, from its ``first``-th on, as they are ready.

    A case that is there already is kept as it is. All are for training: one scan must never be
    trained on and tested on, so its cases are in no other split.

    Parameters
    ----------
    root
        Folder of the cases.
    marks
        The scans.
    data
        Folder of real CT series, below which the scans lie.
    first, count
        Which cases of each scan.
    """
    for one in marks:
        background: Background | None = None
        for number in range(first, first + count):
            folder = root / case_id_of(one, number)
            if (folder / CASE_FILE).is_file():
                yield read_case(folder)
                continue
            # The scan is read only if there is something to do.
            background = background or load_background(one, data)
            yield write_background_case(root, background, number)


def case_id_of(marks: ScanMarks, number: int) -> str:
    """Return the name of a case of a scan."""
    return f"real-{marks.name}-{number:06d}"


def write_background_case(root: Path, background: Background, number: int) -> TrainingCase:
    """Insert the calcium of a number into a scan and write it as a case."""
    scan = inserted_scan(background, number)
    return write_case(
        root,
        case_id_of(background.marks, number),
        split="train",
        volume=scan.volume,
        reference=scan.truth,
        confusers=scan.structures,
        heart=scan.heart,
        # What else is dense in a real scan is not known by kind.
        are_confusers_complete=False,
        attributes=_attributes(background.marks, scan),
    )


def inserted_scan(background: Background, number: int) -> InsertedScan:
    """Return a scan with the calcium of a number; the same number gives the same bytes."""
    seed = np.random.SeedSequence([_key(background.marks), number, _CALCIUM_STREAM])
    return insert_calcium(background, settings=settings_of(background, number), seed=seed)


def settings_of(background: Background, number: int) -> InsertionSettings:
    """Return what is inserted for a number and how the scan is varied."""
    return sample_settings(
        background.volume.geometry,
        background.marks.slice_thickness_mm,
        np.random.default_rng([_key(background.marks), number, _SETTINGS_STREAM]),
    )


def _key(marks: ScanMarks) -> int:
    return zlib.crc32(marks.name.encode())


def _attributes(marks: ScanMarks, scan: InsertedScan) -> dict[str, Attribute]:
    settings = scan.settings
    return {
        "background.name": marks.name,
        "background.attribution": marks.source.attribution,
        "background.licence": marks.source.licence,
        "patient.burden_category": settings.burden_category,
        "patient.confuser_rate": settings.confuser_rate,
        "scan.motion_mm": settings.motion_mm,
        "insertion.psf_factor": settings.psf_factor,
        "insertion.softening_sigma_mm": settings.softening_sigma_mm,
        "insertion.added_noise_hu": settings.added_noise_hu,
        "insertion.merged_slices": float(settings.merge.width),
    }
