"""What a model and a reference say of one scan, as counts and scores that can be added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.scoring.categories import risk_category
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.scoring.report import CalciumReport, measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap, MaskArray
from model_training.agreement import LesionCounts, match_lesions
from model_training.cases import Attribute
from model_training.evaluation.false_positives import SourceCounts, count_sources
from model_training.evaluation.image_noise import measured_noise_sd_hu
from model_training.importers.imported_case import Reference
from model_training.metrics import VoxelCounts

COUNTING_VERSION: Final = 1
"""Raised whenever what is counted changes: counts that were kept are then counted again."""

ArteryConfusion: TypeAlias = dict[str, dict[str, int]]
"""Voxels of calcium that both mark, by artery of the reference, then of the model."""


@dataclass(frozen=True, eq=False)
class AnnotatedScan:
    """A scan and what is known of it.

    Parameters
    ----------
    case_id, patient
        Of which scan and which patient.
    volume
        As serving would read it.
    reference
        Labels on the grid of the volume, or scores only.
    confusers
        (slice, row, column) uint8, values of ``Structure``; None where not known.
    heart
        (slice, row, column) uint8, 1 inside the pericardial sac; None where not known.
    attributes
        Facts about patient and scan by which results are grouped.
    """

    case_id: str
    patient: str
    volume: CtVolume
    reference: Reference
    confusers: NDArray[np.uint8] | None
    heart: NDArray[np.uint8] | None
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, eq=False)
class FoundInScan:
    """What a model says of a scan.

    ``region`` (slice, row, column) is where it looked, None where that was everywhere;
    ``warnings`` are the codes of what a report would warn of.
    """

    label_map: LabelMap
    region: MaskArray | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArteryFigures:
    """One artery of one scan; voxels and lesions are None where the reference is a score only."""

    reference_agatston_score: float
    agatston_score: float
    voxels: VoxelCounts | None
    lesions: LesionCounts | None


@dataclass(frozen=True)
class CaseFigures:
    """One scan; unrounded.

    ``voxels``, ``lesions`` and ``sources`` are None where the reference is a score only;
    ``arteries`` where reference or model do not tell arteries apart, and so is
    ``artery_confusion``, which needs masks as well. ``calcium_outside_region`` counts the voxels of
    the reference where the model did not look, None where it looked everywhere or there is no mask.
    """

    case_id: str
    patient: str
    is_ecg_gated: bool | None
    spacing_between_slices_mm: float
    slice_thickness_mm: float | None
    convolution_kernel: tuple[str, ...]
    kvp: float | None
    noise_sd_hu: float | None
    attributes: dict[str, Attribute]
    voxel_volume_mm3: float
    warnings: tuple[str, ...]
    reference_agatston_score: float
    agatston_score: float
    voxels: VoxelCounts | None
    lesions: LesionCounts | None
    sources: dict[str, SourceCounts] | None
    arteries: dict[str, ArteryFigures] | None
    artery_confusion: ArteryConfusion | None
    calcium_outside_region: int | None

    @property
    def reference_risk_category(self) -> str:
        """Risk category of the reference."""
        return risk_category(self.reference_agatston_score)

    @property
    def risk_category(self) -> str:
        """Risk category of the model."""
        return risk_category(self.agatston_score)

    @property
    def is_category_right(self) -> bool:
        """Whether both put the patient into the same risk category."""
        return self.risk_category == self.reference_risk_category

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **asdict(self),
            "reference_risk_category": self.reference_risk_category,
            "risk_category": self.risk_category,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CaseFigures:
        """Return what :meth:`as_dict` was made from."""
        kept = {
            name: value
            for name, value in values.items()
            if name not in {"reference_risk_category", "risk_category"}
        }
        kept["convolution_kernel"] = tuple(kept["convolution_kernel"])
        kept["warnings"] = tuple(kept["warnings"])
        kept["voxels"] = _voxels_from(kept["voxels"])
        kept["lesions"] = _lesions_from(kept["lesions"])
        if kept["sources"] is not None:
            kept["sources"] = {name: SourceCounts(**one) for name, one in kept["sources"].items()}
        if kept["arteries"] is not None:
            kept["arteries"] = {
                name: ArteryFigures(
                    one["reference_agatston_score"],
                    one["agatston_score"],
                    _voxels_from(one["voxels"]),
                    _lesions_from(one["lesions"]),
                )
                for name, one in kept["arteries"].items()
            }
        return cls(**kept)


def measure_case(
    scan: AnnotatedScan,
    found: FoundInScan,
    *,
    model_has_arteries: bool,
    protocol: ScoringProtocol,
) -> CaseFigures:
    """Compare what a model found in a scan with its reference.

    Voxels are those at or above the threshold. Lesions are made of voxels that count for the score
    and so leave out slice lesions that are too small.
    """
    report = measure_calcium(
        scan.volume, found.label_map, protocol=protocol, has_artery_labels=model_has_arteries
    )
    if isinstance(scan.reference, LabelMap):
        compared = _compared_with_mask(scan, scan.reference, found, report, protocol)
    else:
        compared = _Comparison(
            reference_agatston_score=scan.reference.agatston_score,
            arteries=_arteries_of_scores(report, scan.reference.arteries),
        )
    acquisition, geometry = scan.volume.acquisition, scan.volume.geometry
    return CaseFigures(
        case_id=scan.case_id,
        patient=scan.patient,
        is_ecg_gated=acquisition.is_ecg_gated,
        spacing_between_slices_mm=geometry.spacing_between_slices_mm,
        slice_thickness_mm=acquisition.slice_thickness_mm,
        convolution_kernel=acquisition.convolution_kernel,
        kvp=acquisition.kvp,
        noise_sd_hu=measured_noise_sd_hu(scan.volume),
        attributes=dict(scan.attributes),
        voxel_volume_mm3=geometry.voxel_volume_mm3,
        warnings=found.warnings,
        reference_agatston_score=compared.reference_agatston_score,
        agatston_score=report.total.agatston_score,
        voxels=compared.voxels,
        lesions=compared.lesions,
        sources=compared.sources,
        arteries=compared.arteries,
        artery_confusion=compared.artery_confusion,
        calcium_outside_region=compared.calcium_outside_region,
    )


@dataclass(frozen=True)
class _Comparison:
    """The fields of :class:`CaseFigures` that need a reference."""

    reference_agatston_score: float
    arteries: dict[str, ArteryFigures] | None
    voxels: VoxelCounts | None = None
    lesions: LesionCounts | None = None
    sources: dict[str, SourceCounts] | None = None
    artery_confusion: ArteryConfusion | None = None
    calcium_outside_region: int | None = None


def _compared_with_mask(
    scan: AnnotatedScan,
    reference: LabelMap,
    found: FoundInScan,
    report: CalciumReport,
    protocol: ScoringProtocol,
) -> _Comparison:
    # A scan without calcium has none in each artery; calcium without an artery leaves them open.
    has_arteries = not (reference.labels == CORONARY).any()
    expected = measure_calcium(
        scan.volume, reference, protocol=protocol, has_artery_labels=has_arteries
    )
    tells_arteries = report.arteries is not None and expected.arteries is not None
    dense: MaskArray = scan.volume.hu >= protocol.threshold_hu
    marked, calcium = found.label_map.calcium_mask & dense, reference.calcium_mask & dense
    return _Comparison(
        reference_agatston_score=expected.total.agatston_score,
        arteries=_arteries_of_masks(report, expected, found.label_map, reference, dense),
        voxels=VoxelCounts.of(marked, calcium),
        lesions=match_lesions(counted_mask(report), counted_mask(expected)),
        sources=count_sources(
            marked,
            calcium,
            dense,
            [part for lesion in report.lesions for part in lesion.slice_lesions],
            confusers=scan.confusers,
            heart=scan.heart,
            protocol=protocol,
            spacing_between_slices_mm=scan.volume.geometry.spacing_between_slices_mm,
        ),
        artery_confusion=(
            _artery_confusion(found.label_map, reference, marked & calcium)
            if tells_arteries
            else None
        ),
        calcium_outside_region=(
            None if found.region is None else int(np.count_nonzero(calcium & ~found.region))
        ),
    )


def counted_mask(report: CalciumReport, artery: Artery | None = None) -> MaskArray:
    """Return the voxels (slice, row, column) of the lesions of a report: of an artery, or all."""
    mask = np.zeros(report.geometry.shape, dtype=np.bool_)
    for lesion in report.lesions:
        if artery is None or lesion.artery == artery:
            for part in lesion.slice_lesions:
                mask[part.slice_index, part.pixels[0], part.pixels[1]] = True
    return mask


def _arteries_of_scores(
    found: CalciumReport, expected: Mapping[Artery, float | None]
) -> dict[str, ArteryFigures] | None:
    if found.arteries is None:
        return None
    return {
        artery.name: ArteryFigures(score, found.arteries[artery].agatston_score, None, None)
        for artery in Artery
        if (score := expected.get(artery)) is not None
    }


def _arteries_of_masks(
    found: CalciumReport,
    expected: CalciumReport,
    label_map: LabelMap,
    reference: LabelMap,
    dense: MaskArray,
) -> dict[str, ArteryFigures] | None:
    if found.arteries is None or expected.arteries is None:
        return None
    return {
        artery.name: ArteryFigures(
            reference_agatston_score=expected.arteries[artery].agatston_score,
            agatston_score=found.arteries[artery].agatston_score,
            voxels=VoxelCounts.of(
                (label_map.labels == artery) & dense, (reference.labels == artery) & dense
            ),
            lesions=match_lesions(counted_mask(found, artery), counted_mask(expected, artery)),
        )
        for artery in Artery
    }


def _artery_confusion(
    label_map: LabelMap, reference: LabelMap, shared: MaskArray
) -> ArteryConfusion:
    names = {artery.value: artery.name for artery in Artery}
    size = max(names) + 1
    pairs = reference.labels[shared].astype(np.intp) * size + label_map.labels[shared]
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return {
        row_name: {name: int(counts[row, column]) for column, name in names.items()}
        for row, row_name in names.items()
    }


def _voxels_from(values: Mapping[str, int] | None) -> VoxelCounts | None:
    return None if values is None else VoxelCounts(**values)


def _lesions_from(values: Mapping[str, int] | None) -> LesionCounts | None:
    return None if values is None else LesionCounts(**values)
