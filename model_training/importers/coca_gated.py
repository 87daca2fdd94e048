"""COCA, gated part: calcium scans with regions drawn in OsiriX.

Stanford AIMI, "COCA - Coronary Calcium and chest CT's"; registration and its own licence. Layout::

    Gated_release_final/
      patient/<n>/<series>/IM-*.dcm
      calcium_xml/<n>.xml

A voxel is calcium if a region holds it and it is at or above the threshold. ``ImageIndex`` counts
slices from 0 in ascending z.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from calcium_scoring.dicom.read_series import CtSeries, read_ct_files
from calcium_scoring.errors import CacscoreError
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.upload.archive import UnpackedFile, list_upload
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import BACKGROUND, Artery, LabelMap
from model_training.importers.dicom_series import files_by_series, series_problems, several_series
from model_training.importers.imported_case import ImportedCase, ImportProblem, RefusedCase
from model_training.importers.osirix_rois import (
    Roi,
    RoiFit,
    UnreadableRois,
    fit_roi,
    read_osirix_rois,
)
from model_training.importers.patient_names import natural_order

ROI_NAMES: Final[Mapping[str, int]] = {
    "Left Coronary Artery": Artery.LM,
    "Left Anterior Descending Artery": Artery.LAD,
    "Left Circumflex Artery": Artery.LCX,
    "Right Coronary Artery": Artery.RCA,
}
"""Vocabulary of the data set; case and surrounding blanks do not matter."""

NO_CALCIUM: Final = "NONE"
"""How a user says that regions of some name are no coronary calcium."""

MIN_REPRODUCED_PART: Final = 0.5
"""If fewer of the regions measure what they say, they were drawn on something else. Our choice;
with the right series nearly all do."""


def read_coca_gated(
    root: Path,
    *,
    roi_names: Mapping[str, int | None] | None = None,
    no_annotation_means_zero: bool = False,
    threshold_hu: float = LITERATURE.threshold_hu,
) -> Iterator[ImportedCase | RefusedCase]:
    """Read every patient of ``Gated_release_final``, by number.

    Parameters
    ----------
    root
        The folder that holds ``patient`` and ``calcium_xml``.
    roi_names
        What names outside :data:`ROI_NAMES` mean: a label, or None for regions that are no
        coronary calcium. A name that is in neither is reported, its region left out, and the
        reference counts as incomplete.
    no_annotation_means_zero
        Whether a patient without an XML file has no calcium. Only who holds the data can know;
        by default such a patient is refused.
    threshold_hu
        Voxels of a region from here upwards are calcium.

    Raises
    ------
    ValueError
        If ``root`` has another layout.
    """
    if not (root / "patient").is_dir() or not (root / "calcium_xml").is_dir():
        raise ValueError(
            f"{root} holds no folders patient/ and calcium_xml/: give the folder "
            "Gated_release_final of COCA."
        )
    labels = {**ROI_NAMES, **(roi_names or {})}
    vocabulary = {name.strip().casefold(): label for name, label in labels.items()}
    folders = {path.name for path in (root / "patient").iterdir() if path.is_dir()}
    annotated = {path.stem for path in (root / "calcium_xml").glob("*.xml")}
    for patient in sorted(folders | annotated, key=natural_order):
        yield _read_patient(root, patient, vocabulary, no_annotation_means_zero, threshold_hu)


class _Refused(Exception):
    """A patient that cannot be used; ``problem`` says why."""

    def __init__(self, code: str, message: str, **evidence: object) -> None:
        super().__init__(message)
        self.problem = ImportProblem(code, message, evidence)


@dataclass(frozen=True, eq=False)
class _AnnotatedSeries:
    """A series and how the regions lie on it."""

    series: CtSeries
    fits: tuple[RoiFit, ...]
    out_of_range: tuple[Roi, ...]

    @property
    def reproduced_count(self) -> int:
        return sum(fit.is_reproduced for fit in self.fits)

    @property
    def checkable_count(self) -> int:
        return sum(fit.can_be_checked for fit in self.fits)


def _read_patient(
    root: Path,
    patient: str,
    vocabulary: Mapping[str, int | None],
    no_annotation_means_zero: bool,
    threshold_hu: float,
) -> ImportedCase | RefusedCase:
    name = f"coca-gated-{patient}"
    folder = root / "patient" / patient
    problems: list[ImportProblem] = []
    try:
        rois = _read_rois(root / "calcium_xml" / f"{patient}.xml", no_annotation_means_zero)
        if rois is None:
            problems.append(
                ImportProblem(
                    "zero_without_annotation",
                    "There is no XML file; as stated, that was taken for zero calcium.",
                )
            )
        annotated = _annotated_series(folder, rois or (), problems)
        _check_fit(annotated)
    except _Refused as error:
        return RefusedCase(name, name, folder, (*problems, error.problem))
    except CacscoreError as error:
        return RefusedCase(name, name, folder, (*problems, ImportProblem.of_error(error)))
    problems += series_problems(annotated.series)
    problems += _roi_problems(rois or (), annotated)
    volume = annotated.series.volume
    reference = _label_map(volume, annotated.fits, vocabulary, threshold_hu, problems)
    return ImportedCase(name, name, folder, volume, reference, tuple(problems))


def _read_rois(path: Path, no_annotation_means_zero: bool) -> Sequence[Roi] | None:
    """Return the regions of a patient; None where a missing file means that there are none."""
    if path.is_file():
        try:
            return read_osirix_rois(path)
        except UnreadableRois as error:
            raise _Refused("unreadable_annotation", str(error)) from error
    if no_annotation_means_zero:
        return None
    raise _Refused(
        "no_annotation",
        f"There is no {path.name}. If that means zero calcium, say so "
        "(no_annotation_means_zero); it is not assumed.",
    )


def _annotated_series(
    folder: Path, rois: Sequence[Roi], problems: list[ImportProblem]
) -> _AnnotatedSeries:
    """Return the series on which the regions were drawn: the one on which they measure right."""
    if not folder.is_dir():
        raise _Refused("no_images", f"There is an annotation but no folder patient/{folder.name}.")
    drawn = [roi for roi in rois if roi.is_drawn]
    candidates = list(files_by_series(folder))
    if len(candidates) < 2 or not drawn:
        return _fit(candidates[0] if len(candidates) == 1 else list_upload(folder), drawn)
    best: list[_AnnotatedSeries] = []
    for files in candidates:
        try:
            candidate = _fit(files, drawn)
        except CacscoreError as error:
            problems.append(ImportProblem.of_error(error))
            continue
        if best and candidate.reproduced_count > best[0].reproduced_count:
            best = []
        if not best or candidate.reproduced_count == best[0].reproduced_count:
            best.append(candidate)
    if len(best) != 1 or not best[0].reproduced_count:
        raise _Refused(
            "series_not_identified",
            f"There are {len(candidates)} CT series, and the measurements of the regions do not "
            "tell on which of them they were drawn; leave only that one in the folder.",
            series_count=len(candidates),
        )
    problems.append(several_series(len(candidates)))
    return best[0]


def _fit(files: Sequence[UnpackedFile], drawn: Sequence[Roi]) -> _AnnotatedSeries:
    series = read_ct_files(files)
    slice_count = series.volume.geometry.shape[0]
    inside = [roi for roi in drawn if 0 <= roi.image_index < slice_count]
    return _AnnotatedSeries(
        series,
        tuple(fit_roi(roi, series.volume.hu) for roi in inside),
        tuple(roi for roi in drawn if roi not in inside),
    )


def _check_fit(annotated: _AnnotatedSeries) -> None:
    checked, reproduced = annotated.checkable_count, annotated.reproduced_count
    if reproduced < MIN_REPRODUCED_PART * checked:
        raise _Refused(
            "rois_do_not_fit",
            f"Only {reproduced} of {checked} regions measure on this series what they say of "
            "themselves (Total, Mean): they were drawn on other images.",
            reproduced_count=reproduced,
            checked_count=checked,
        )


def _roi_problems(rois: Sequence[Roi], annotated: _AnnotatedSeries) -> list[ImportProblem]:
    problems = []
    for roi in rois:
        if not roi.is_drawn:
            claims_pixels = bool(roi.total_hu)
            problems.append(
                ImportProblem(
                    "empty_roi",
                    f"{roi.place} has {len(roi.points)} points, which enclose nothing"
                    + (", but a Total of its own; its calcium is lost." if claims_pixels else "."),
                    {"image_index": roi.image_index, "point_count": len(roi.points)},
                    is_reference_incomplete=claims_pixels,
                )
            )
    slice_count = annotated.series.volume.geometry.shape[0]
    problems += [
        ImportProblem(
            "image_index_out_of_range",
            f"{roi.place} lies outside the series of {slice_count} slices (0 to "
            f"{slice_count - 1}) and was left out.",
            {"image_index": roi.image_index, "slice_count": slice_count},
            is_reference_incomplete=True,
        )
        for roi in annotated.out_of_range
    ]
    for fit in annotated.fits:
        roi = fit.roi
        if not fit.can_be_checked:
            problems.append(
                ImportProblem(
                    "roi_without_measurements",
                    f"{roi.place} carries no Total and Mean; it was used unchecked.",
                    {"image_index": roi.image_index},
                )
            )
        elif not fit.is_reproduced:
            problems.append(
                ImportProblem(
                    "roi_deviates",
                    f"{roi.place} holds {fit.pixel_count} pixels with a sum of "
                    f"{fit.total_hu:.0f} HU; its own measurements say {roi.pixel_count} pixels "
                    f"and {roi.total_hu:.0f} HU. It was used as drawn.",
                    {
                        "image_index": roi.image_index,
                        "pixel_count": fit.pixel_count,
                        "stated_pixel_count": roi.pixel_count,
                        "total_hu": fit.total_hu,
                        "stated_total_hu": roi.total_hu,
                    },
                )
            )
    return problems


def _label_map(
    volume: CtVolume,
    fits: Sequence[RoiFit],
    vocabulary: Mapping[str, int | None],
    threshold_hu: float,
    problems: list[ImportProblem],
) -> LabelMap:
    """Return the labels of all regions; what is odd about them is added to ``problems``."""
    labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
    for fit in fits:
        roi = fit.roi
        evidence = {"image_index": roi.image_index, "name": roi.name}
        if roi.name.casefold() not in vocabulary:
            problems.append(
                ImportProblem(
                    "unknown_roi_name",
                    f"{roi.place} has a name that is not in the vocabulary and was left out; "
                    "state what it means (roi_names).",
                    evidence,
                    is_reference_incomplete=True,
                )
            )
            continue
        label = vocabulary[roi.name.casefold()]
        if label is None:
            continue
        target = labels[roi.image_index]
        calcium = fit.mask & (volume.hu[roi.image_index] >= threshold_hu)
        if not calcium.any():
            problems.append(
                ImportProblem(
                    "roi_below_threshold",
                    f"{roi.place} holds no voxel of {threshold_hu:g} HU or more.",
                    evidence,
                )
            )
        contested = int(np.count_nonzero(calcium & (target != BACKGROUND) & (target != label)))
        if contested:
            problems.append(
                ImportProblem(
                    "overlapping_rois",
                    f"{roi.place} shares {contested} pixels with a region of another artery, "
                    "which came first and keeps them.",
                    {**evidence, "pixel_count": contested},
                )
            )
        target[calcium & (target == BACKGROUND)] = label
    return LabelMap(volume.geometry, labels)
