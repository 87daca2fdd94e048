"""The result of measuring: scores in total and per artery, with every lesion behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calcium_scoring.scoring.agatston import agatston_score
from calcium_scoring.scoring.categories import cac_drs_category, risk_category
from calcium_scoring.scoring.lesions import (
    Lesion,
    SliceLesion,
    find_slice_lesions,
    join_across_slices,
)
from calcium_scoring.scoring.mass_score import mass_score_mg
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.scoring.volume_score import volume_score_mm3
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import Artery, LabelMap


@dataclass(frozen=True)
class CalciumScores:
    """The three scores of a set of lesions, and how many lesions they are."""

    agatston_score: float
    volume_score_mm3: float
    mass_score_mg: float | None
    lesion_count: int


@dataclass(frozen=True, eq=False)
class CalciumReport:
    """Everything that was measured; unrounded.

    ``arteries`` is None where at least one lesion has no known artery: a number per artery
    would be invented. ``vessel_count`` (CAC-DRS N) is None for the same reason.
    """

    total: CalciumScores
    arteries: dict[Artery, CalciumScores] | None
    lesions: tuple[Lesion, ...]
    risk_category: str
    cac_drs_category: str
    vessel_count: int | None
    protocol: ScoringProtocol
    geometry: VolumeGeometry
    mass_calibration_factor: float | None


def measure_calcium(
    volume: CtVolume,
    label_map: LabelMap,
    *,
    protocol: ScoringProtocol,
    has_artery_labels: bool,
) -> CalciumReport:
    """Measure the labelled calcium of a volume at its own resolution.

    Parameters
    ----------
    volume, label_map
        On the same grid; only labelled voxels at or above the threshold count.
    protocol
        The rules of the score.
    has_artery_labels
        Whether whoever made the labels tells arteries apart. With False the scores per
        artery are None even when nothing was found.
    """
    lesions = join_across_slices(find_slice_lesions(volume, label_map, protocol))

    def scores(chosen: Sequence[Lesion]) -> CalciumScores:
        return measure_lesions(chosen, volume.geometry, protocol, volume.mass_calibration_factor)

    total = scores(lesions)
    arteries = None
    if has_artery_labels and all(lesion.artery is not None for lesion in lesions):
        arteries = {
            artery: scores([lesion for lesion in lesions if lesion.artery == artery])
            for artery in Artery
        }
    return CalciumReport(
        total=total,
        arteries=arteries,
        lesions=tuple(lesions),
        risk_category=risk_category(total.agatston_score),
        cac_drs_category=cac_drs_category(total.agatston_score),
        vessel_count=(
            None
            if arteries is None
            else sum(artery.agatston_score > 0 for artery in arteries.values())
        ),
        protocol=protocol,
        geometry=volume.geometry,
        mass_calibration_factor=volume.mass_calibration_factor,
    )


def measure_lesions(
    lesions: Sequence[Lesion],
    geometry: VolumeGeometry,
    protocol: ScoringProtocol,
    mass_calibration_factor: float | None,
) -> CalciumScores:
    """Return the scores of some lesions of a scan: of one, of an artery, or of all."""
    parts: list[SliceLesion] = [part for lesion in lesions for part in lesion.slice_lesions]
    return CalciumScores(
        agatston_score=agatston_score(
            parts, protocol, spacing_between_slices_mm=geometry.spacing_between_slices_mm
        ),
        volume_score_mm3=volume_score_mm3(parts, voxel_volume_mm3=geometry.voxel_volume_mm3),
        mass_score_mg=mass_score_mg(
            parts,
            voxel_volume_mm3=geometry.voxel_volume_mm3,
            mass_calibration_factor=mass_calibration_factor,
        ),
        lesion_count=len(lesions),
    )
