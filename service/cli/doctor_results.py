"""Whether the results that came back to an archive are those that the service found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any, Final, Protocol

from calcium_scoring.dicom.acceptance import WRITTEN_SOP_CLASSES
from calcium_scoring.dicom.queries import FoundSeries
from calcium_scoring.dicom.read_report import ReportedTotals, read_report
from calcium_scoring.dicom.read_segmentation import (
    SegmentationOrigin,
    read_segmentation,
    read_segmentation_origin,
)
from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.dicom.write_segmentation import CONTENT_LABEL
from calcium_scoring.upload.file_head import read_file_head
from service.application.verify_report import verify_report
from service.cli.outcome import CommandFailed

SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"
COMPREHENSIVE_3D_SR: Final = "1.2.840.10008.5.1.4.1.1.88.34"

WRITTEN_NUMBER_TOLERANCE: Final = 1e-6
"""Part by which a number of an SR may differ: it is written with 16 characters. Our choice."""

_DIFFERENCES_SHOWN: Final = 3
_NAMES: Final = {
    **{uid: what.partition(",")[0] for what, uid in WRITTEN_SOP_CLASSES},
    SEGMENTATION: "SEG",
    COMPREHENSIVE_3D_SR: "SR",
}


class ResultsSource(Protocol):
    """Where results are found and fetched."""

    def series(self, study_instance_uid: str) -> list[FoundSeries]:
        """Return the series that are there of a study."""
        ...

    def fetch(self, study_instance_uid: str, series: Iterable[FoundSeries], folder: Path) -> None:
        """Fetch all objects of these series into a folder."""
        ...


@dataclass(frozen=True)
class Returned:
    """Files of results by SOP class and instance UID."""

    files: Mapping[str, Mapping[str, Path]]

    @classmethod
    def of(cls, folder: Path) -> Returned:
        """Sort the files of a folder; CommandFailed for one that is no DICOM file."""
        files: dict[str, dict[str, Path]] = {}
        for path in sorted(folder.iterdir()):
            head = read_file_head(path)
            if head is None:
                raise CommandFailed("the archive gave something that is no DICOM file.")
            files.setdefault(head.sop_class_uid, {})[head.sop_instance_uid] = path
        return cls(files)

    @property
    def segmentations(self) -> Mapping[str, Path]:
        """Masks of arteries and of lesions."""
        return self.files.get(SEGMENTATION, {})

    def words(self) -> str:
        """Return how many of each there are."""
        counted = Counter({uid: len(ones) for uid, ones in self.files.items()})
        return ", ".join(f"{n} {_NAMES.get(uid, uid)}" for uid, n in sorted(counted.items()))

    def report(self) -> ReportedTotals:
        """Read the SR; CommandFailed unless there is exactly one."""
        found = [*self.files.get(COMPREHENSIVE_3D_SR, {}).values()]
        if len(found) != 1:
            raise CommandFailed(
                f"the archive gave {len(found)} objects of Comprehensive 3D SR; one is expected."
            )
        return read_report(found[0])

    def missing(self, series: CtSeries) -> frozenset[str]:
        """Return the UIDs of the masks that the SR refers to and that did not come."""
        identity = series.volume.identity
        sources = frozenset(() if identity is None else identity.sop_instance_uids)
        return self.report().sop_instance_uids - sources - self.segmentations.keys()


def check_report(returned: Returned, document: Mapping[str, Any], expected_score: float) -> str:
    """Compare the SR with the service's report; say what it holds, or raise CommandFailed."""
    totals = returned.report()
    said = {
        "Agatston score": (totals.agatston_score, document["agatston_score"]),
        "volume in mm3": (totals.volume_score_mm3, document["volume_score_mm3"]),
    }
    for what, (found, reported) in said.items():
        tolerance = WRITTEN_NUMBER_TOLERANCE
        if not isclose(found, reported, rel_tol=tolerance, abs_tol=tolerance):
            raise CommandFailed(
                f"the SR in the archive has the {what} {found:.1f}, the service reports "
                f"{reported:.1f}: the SR was changed on its way, or is of another result."
            )
    return (
        f"Agatston score {totals.agatston_score:.1f}, volume {totals.volume_score_mm3:.1f} mm3, "
        f"as the service reports; {expected_score:.1f} is expected here"
    )


def check_references(returned: Returned, series: CtSeries) -> str:
    """Check that the SR is about the series that was sent and the masks that came back."""
    totals, identity = returned.report(), series.volume.identity
    if identity is None or identity.series_instance_uid not in totals.series_instance_uids:
        raise CommandFailed(
            "the SR in the archive does not refer to the series that was sent: it is of another "
            "series, or its references were changed."
        )
    missing = returned.missing(series)
    if missing:
        raise CommandFailed(
            f"the SR refers to {len(missing)} masks that the archive does not have: did it give "
            "them new UIDs, or not take them?"
        )
    count = len(returned.segmentations)
    return f"to the series that was sent and to {count} SEG that came back"


def check_mask(returned: Returned, document: Mapping[str, Any], series: CtSeries) -> str:
    """Measure the SEG anew on the series that was sent and compare with the service's report."""
    path, origin = _mask(returned)
    label_map = read_segmentation(path, series)
    found = verify_report(dict(document), label_map, series, origin)
    differences = {one.field: one for one in found.differences}
    voxels = int(label_map.calcium_mask.sum())
    volume_mm3 = voxels * label_map.geometry.voxel_volume_mm3
    marked = f"{voxels} voxels, {volume_mm3:.1f} mm3"
    if "agatston_score" in differences:
        one = differences["agatston_score"]
        raise CommandFailed(
            f"the SEG in the archive ({marked}) gives the Agatston score {one.recomputed:.1f}, the "
            f"service reports {one.reported:.1f}: the SEG was changed on its way, or is of another "
            "result."
        )
    if differences:
        shown = ", ".join([*differences][:_DIFFERENCES_SHOWN])
        raise CommandFailed(
            f"{len(differences)} of {found.compared_count} values of the report do not follow from "
            f"the SEG in the archive ({marked}) and the series that was sent: {shown}."
        )
    return (
        f"{marked}, drawn on the series that was sent; measured anew it gives the Agatston score "
        f"{document['agatston_score']:.1f} and all {found.compared_count} values of the report"
    )


def _mask(returned: Returned) -> tuple[Path, SegmentationOrigin]:
    """Return the mask of arteries, not that of lesions."""
    origins = [(path, read_segmentation_origin(path)) for path in returned.segmentations.values()]
    masks = [one for one in origins if one[1].content_label == CONTENT_LABEL]
    if len(masks) != 1:
        raise CommandFailed(
            f"of {len(origins)} SEG in the archive {len(masks)} have the content label "
            f"{CONTENT_LABEL}; one is expected."
        )
    return masks[0]
