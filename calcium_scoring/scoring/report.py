"""The result of measuring: scores in total and per artery, with every lesion behind them.

The same calcium is also scored under other conventions: whether they agree on its category says
more about the score than its decimals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from calcium_scoring.scoring.agatston import agatston_score
from calcium_scoring.scoring.categories import cac_drs_category, risk_category
from calcium_scoring.scoring.lesions import (
    Lesion,
    SliceLesion,
    find_lesions,
)
from calcium_scoring.scoring.mass_score import mass_score_mg
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.scoring.volume_score import interpolated_volumes_mm3, volume_score_mm3
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import Artery, LabelMap


@dataclass(frozen=True)
class CalciumScores:
    """The scores of a set of lesions, and how many lesions they are.

    ``volume_score_mm3`` counts voxels; ``interpolated_volume_score_mm3`` interpolates between
    slices first, as Callister's does.
    """

    agatston_score: float
    volume_score_mm3: float
    interpolated_volume_score_mm3: float
    mass_score_mg: float | None
    lesion_count: int


@dataclass(frozen=True)
class ConventionScore:
    """The same calcium under another protocol; ``protocol`` is as it was applied.

    ``category_stable`` tells whether risk category and CAC-DRS category are those of the report.
    """

    protocol: ScoringProtocol
    scores: CalciumScores
    risk_category: str
    cac_drs_category: str
    category_stable: bool


@dataclass(frozen=True, eq=False)
class CalciumReport:
    """Everything that was measured; unrounded.

    ``arteries`` is None where at least one lesion has no known artery: a number per artery
    would be invented. ``vessel_count`` (CAC-DRS N) is None for the same reason. ``protocol`` is
    as it was applied, with the thresholds of the tube voltage. ``conventions`` has the scores
    under the other protocols that were asked for. ``interpolated_volumes_mm3`` is by lesion id.
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
    interpolated_volumes_mm3: Mapping[int, float]
    conventions: tuple[ConventionScore, ...]

    def scores_of(self, lesions: Sequence[Lesion]) -> CalciumScores:
        """Return the scores of some of its lesions: of one, of an artery, or of all."""
        return measure_lesions(
            lesions,
            self.geometry,
            self.protocol,
            self.mass_calibration_factor,
            interpolated_volumes_mm3=self.interpolated_volumes_mm3,
        )

    @property
    def category_stable(self) -> bool:
        """Whether every convention agrees on the risk category and the CAC-DRS category."""
        return all(convention.category_stable for convention in self.conventions)


def measure_calcium(
    volume: CtVolume,
    label_map: LabelMap,
    *,
    protocol: ScoringProtocol,
    has_artery_labels: bool,
    conventions: Iterable[ScoringProtocol] = (),
) -> CalciumReport:
    """Measure the labelled calcium of a volume at its own resolution.

    Parameters
    ----------
    volume, label_map
        On the same grid; only labelled voxels at or above the threshold count.
    protocol
        The rules of the score. Its tube voltage table is applied to the volume's voltage.
    has_artery_labels
        Whether whoever made the labels tells arteries apart. With False the scores per
        artery are None even when nothing was found.
    conventions
        Protocols under which the same calcium is scored for comparison, with the tube voltage
        table of ``protocol``; one of the same name as ``protocol`` is left out.
    """
    protocol = protocol.at_tube_voltage(volume.acquisition.kvp)
    lesions = find_lesions(volume, label_map, protocol)
    interpolated = interpolated_volumes_mm3(lesions, volume, protocol)

    def scores(chosen: Sequence[Lesion]) -> CalciumScores:
        return measure_lesions(
            chosen,
            volume.geometry,
            protocol,
            volume.mass_calibration_factor,
            interpolated_volumes_mm3=interpolated,
        )

    total = scores(lesions)
    arteries = None
    if has_artery_labels and all(lesion.artery is not None for lesion in lesions):
        arteries = {
            artery: scores([lesion for lesion in lesions if lesion.artery == artery])
            for artery in Artery
        }
    categories = _categories(total)
    return CalciumReport(
        total=total,
        arteries=arteries,
        lesions=tuple(lesions),
        risk_category=categories[0],
        cac_drs_category=categories[1],
        vessel_count=(
            None
            if arteries is None
            else sum(artery.agatston_score > 0 for artery in arteries.values())
        ),
        protocol=protocol,
        geometry=volume.geometry,
        mass_calibration_factor=volume.mass_calibration_factor,
        interpolated_volumes_mm3=interpolated,
        conventions=tuple(
            _score_under(
                replace(convention, tube_voltage_table=protocol.tube_voltage_table),
                volume,
                label_map,
                categories,
            )
            for convention in conventions
            if convention.name != protocol.name
        ),
    )


def measure_lesions(
    lesions: Sequence[Lesion],
    geometry: VolumeGeometry,
    protocol: ScoringProtocol,
    mass_calibration_factor: float | None,
    *,
    interpolated_volumes_mm3: Mapping[int, float],
) -> CalciumScores:
    """Return the scores of some lesions of a scan: of one, of an artery, or of all.

    ``interpolated_volumes_mm3`` has the interpolated volume of each lesion by its id.
    """
    parts: list[SliceLesion] = [part for lesion in lesions for part in lesion.slice_lesions]
    return CalciumScores(
        agatston_score=agatston_score(
            parts, protocol, spacing_between_slices_mm=geometry.spacing_between_slices_mm
        ),
        volume_score_mm3=volume_score_mm3(parts, voxel_volume_mm3=geometry.voxel_volume_mm3),
        interpolated_volume_score_mm3=sum(
            (interpolated_volumes_mm3[lesion.lesion_id] for lesion in lesions), start=0.0
        ),
        mass_score_mg=mass_score_mg(
            parts,
            voxel_volume_mm3=geometry.voxel_volume_mm3,
            mass_calibration_factor=mass_calibration_factor,
        ),
        lesion_count=len(lesions),
    )


def _score_under(
    convention: ScoringProtocol,
    volume: CtVolume,
    label_map: LabelMap,
    reported: tuple[str, str],
) -> ConventionScore:
    applied = convention.at_tube_voltage(volume.acquisition.kvp)
    lesions = find_lesions(volume, label_map, applied)
    scores = measure_lesions(
        lesions,
        volume.geometry,
        applied,
        volume.mass_calibration_factor,
        interpolated_volumes_mm3=interpolated_volumes_mm3(lesions, volume, applied),
    )
    categories = _categories(scores)
    return ConventionScore(applied, scores, *categories, category_stable=categories == reported)


def _categories(scores: CalciumScores) -> tuple[str, str]:
    return risk_category(scores.agatston_score), cac_drs_category(scores.agatston_score)
