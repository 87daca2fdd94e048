"""orCaScore: calcium scans of four vendors with labelled calcifications, as MetaImage.

orcascore.isi.uu.nl (registration). Names of the training set, wherever below the folder they lie::

    TRV1P1CTI.mhd + .raw      non-contrast calcium scan of vendor 1, patient 1
    TRV1P1CTAI.mhd + .raw     contrast-enhanced angiography; not read
    TRV1P1R.mhd + .raw        reference: 1 LAD (with left main), 2 LCX, 3 RCA

The suffix of the reference may be set, should a release name it otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from calcium_scoring.errors import CacscoreError
from calcium_scoring.volume.ct_volume import CtAcquisition
from calcium_scoring.volume.label_map import CORONARY, Artery
from model_training.importers.imported_case import ImportedCase, ImportProblem, RefusedCase
from model_training.importers.itk_images import read_labels, read_volume
from model_training.importers.patient_names import natural_order

LABEL_MEANINGS: Final[Mapping[int, int]] = {
    1: Artery.LAD,
    2: Artery.LCX,
    3: Artery.RCA,
    4: CORONARY,
}
"""From the challenge's page; 4 (artery not determined) is for submissions only."""

IMAGE_SUFFIX: Final = "CTI"
REFERENCE_SUFFIX: Final = "R"
_FILE_SUFFIXES: Final = frozenset({".mhd", ".mha"})

CALCIUM_SCAN: Final = CtAcquisition(is_ecg_gated=True, is_contrast_enhanced=False)
"""What the challenge says of all its calcium scans; MetaImage keeps nothing of it."""


def read_orcascore(
    root: Path, *, reference_suffix: str = REFERENCE_SUFFIX
) -> Iterator[ImportedCase | RefusedCase]:
    """Read every calcium scan below a folder with its reference, by name.

    The left main has no label of its own: it counts as LAD, which every case says.

    Raises
    ------
    ValueError
        If there is no calcium scan below ``root``.
    """
    by_stem = {
        path.stem.upper(): path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in _FILE_SUFFIXES
    }
    scans = {
        stem.removesuffix(IMAGE_SUFFIX): path
        for stem, path in by_stem.items()
        if stem.endswith(IMAGE_SUFFIX)
    }
    if not scans:
        raise ValueError(f"No *{IMAGE_SUFFIX}.mhd below {root}: give the folder of orCaScore.")
    for name in sorted(scans, key=natural_order):
        reference = by_stem.get(f"{name}{reference_suffix.upper()}")
        yield _read_case(f"orcascore-{name}", scans[name], reference, reference_suffix)


def _read_case(
    name: str, scan: Path, reference: Path | None, reference_suffix: str
) -> ImportedCase | RefusedCase:
    if reference is None:
        problem = ImportProblem(
            "no_annotation",
            f"There is no reference *{reference_suffix}.mhd for {scan.name}; test scans come "
            "without one.",
        )
        return RefusedCase(name, name, scan, (problem,))
    try:
        volume = read_volume(scan, CALCIUM_SCAN)
        labels = read_labels(reference, volume.geometry, LABEL_MEANINGS)
    except CacscoreError as error:
        return RefusedCase(name, name, scan, (ImportProblem.of_error(error),))
    left_main = ImportProblem(
        "left_main_counts_as_lad",
        "This data set labels calcium of the left main as LAD; compare both arteries together.",
    )
    return ImportedCase(name, name, scan, volume, labels, (left_main,))
