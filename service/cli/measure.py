"""`cacscore measure`: the scores of a mask that a reader drew."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from calcium_scoring.dicom.read_segmentation import read_segmentation
from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.nifti import read_mask, read_numpy_mask
from calcium_scoring.scoring.components import account_for_components
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.lesions import is_calcium
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.scoring.uncertainty import score_uncertainty
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from calcium_scoring.volume.searched_voxels import SearchedVoxels
from service.application.report_document import report_document
from service.cli.choices import ScoreChoices
from service.cli.console import print_json, progress_bars, stdout
from service.cli.outcome import UsageMistake
from service.cli.report_view import print_report


def measure_mask(
    path: Path,
    mask: Path,
    *,
    wants_json: bool,
    has_artery_labels: bool,
    choices: ScoreChoices,
) -> None:
    """Read series and mask, measure, and print the report."""
    kind = _kind(mask)
    with tempfile.TemporaryDirectory(prefix="cacscore-") as workdir, progress_bars() as progress:
        progress.add_task("Reading", total=None)
        series = read_ct_series(path, Path(workdir))
        label_map = _read(mask, kind, series, has_artery_labels=has_artery_labels)
    volume = replace(series.volume, mass_calibration_factor=choices.mass_calibration_factor)
    report = measure_calcium(
        volume,
        label_map,
        protocol=choices.protocol,
        has_artery_labels=_names_arteries(label_map, said_so=has_artery_labels),
        conventions=CONVENTIONS.values(),
    )
    marked = label_map.calcium_mask & is_calcium(volume.hu, report.protocol)
    document = report_document(
        report,
        volume,
        components=account_for_components(
            volume,
            label_map,
            report.lesions,
            SearchedVoxels.of_mask(label_map.geometry, marked),
            report.protocol,
        ),
        uncertainty=score_uncertainty(
            volume, label_map, report.protocol, report.total.agatston_score
        ),
        model=None,
        warnings=series.warnings,
        other_series=series.other_series,
        left_out_files=series.left_out_files,
        given=choices.given,
    )
    if wants_json:
        print_json(document)
    else:
        print_report(document, stdout)


def _kind(mask: Path) -> str:
    name = mask.name.lower()
    for kind, suffixes in (
        ("nifti", (".nii", ".nii.gz")),
        ("segmentation", (".dcm",)),
        ("numpy", (".npy",)),
    ):
        if name.endswith(suffixes):
            return kind
    raise UsageMistake(
        f"--mask {mask.name}: the name must end in .nii, .nii.gz, .dcm or .npy, which says what "
        "it is."
    )


def _read(mask: Path, kind: str, series: CtSeries, *, has_artery_labels: bool) -> LabelMap:
    geometry = series.volume.geometry
    if kind == "segmentation":
        return read_segmentation(mask, series)
    if kind == "numpy":
        return read_numpy_mask(mask, geometry, has_artery_labels=has_artery_labels)
    # A NIfTI that cacscore wrote says itself what its values mean.
    return read_mask(mask, geometry, has_artery_labels=has_artery_labels or None)


def _names_arteries(label_map: LabelMap, *, said_so: bool) -> bool:
    """Tell whether every voxel of calcium has an artery; an empty mask must have been said to."""
    if not label_map.calcium_mask.any():
        return said_so
    return not bool((label_map.labels == CORONARY).any())
