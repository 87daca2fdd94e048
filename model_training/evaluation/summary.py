"""The figures of many scans: each with how many patients stand behind it and its interval.

All intervals come from resampling patients (:mod:`model_training.agreement`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from calcium_scoring.scoring.categories import RISK_CATEGORIES
from calcium_scoring.volume.label_map import Artery
from model_training.agreement import (
    Bootstrap,
    Estimate,
    ScoreAgreement,
    category_accuracy,
    category_kappa,
    lesion_precision,
    lesion_sensitivity,
    mean_dice,
    pooled_part,
    score_agreement,
    score_icc,
    voxel_f1,
    voxel_precision,
    voxel_sensitivity,
)
from model_training.evaluation.case_figures import ArteryFigures, CaseFigures
from model_training.evaluation.false_positives import AORTIC_AND_MITRAL, SOURCES
from model_training.evaluation.strata import STRATA, grouped

STRATUM_RESAMPLES: Final = 500
"""Resamples for figures of strata, which are many and whose scans are few; our choice."""

READERS_LAD: Final = "LM + LAD"
"""Some data sets, orCaScore among them, count the left main as part of the LAD."""


@dataclass(frozen=True)
class EvaluatedModel:
    """Which model it was: the digest covers every file that decides what is marked."""

    name: str
    version: str
    sha256: str
    is_provisional: bool


@dataclass(frozen=True)
class VoxelAgreement:
    """Voxels at or above the threshold and lesions, over all scans that have a mask."""

    f1: Estimate
    mean_dice: Estimate
    precision: Estimate
    sensitivity: Estimate
    lesion_sensitivity: Estimate
    lesion_precision: Estimate


@dataclass(frozen=True)
class ArteryAgreement:
    """One artery; ``calcified`` counts the scans whose reference has calcium in it."""

    artery: str
    calcified: int
    voxel_f1: Estimate | None
    lesion_sensitivity: Estimate | None
    icc: Estimate
    bias: Estimate


@dataclass(frozen=True)
class ArteryNaming:
    """Which artery the model names where both see calcium, by volume.

    ``right`` is the part of that volume that gets the artery of the reference, ``by_artery`` the
    same of each artery of the reference, and ``volume_mm3[row][column]`` the volume of reference
    artery ``row`` that the model gives to ``column``, both in the order of ``arteries``.
    """

    right: Estimate
    by_artery: dict[str, Estimate]
    arteries: tuple[str, ...]
    volume_mm3: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class SourceFigures:
    """One kind of voxel that the model calls coronary calcium, over all scans.

    ``counted_part`` is the part of the volume of this kind at or above the threshold that is
    marked, None for kinds without an extent of their own. ``agatston_part`` is the part of the sum
    of all scores of the model.
    """

    source: str
    scans: int
    marked_voxels: int
    marked_volume_mm3: float
    agatston_score: float
    agatston_part: float
    counted_part: Estimate | None


@dataclass(frozen=True)
class StratumFigures:
    """The main figures of the scans of one group."""

    stratum: str
    group: str
    scans: int
    voxel_f1: Estimate | None
    lesion_sensitivity: Estimate | None
    icc: Estimate
    kappa: Estimate
    category_accuracy: Estimate


@dataclass(frozen=True)
class EvaluationSummary:
    """Everything that an evaluation says.

    ``voxels``, ``sources`` and ``aortic_and_mitral`` are None without a single mask; ``arteries``
    and ``naming`` where arteries are not told apart; ``calcium_outside_region``, the part of the
    calcium that lies where the model did not look, where it looked everywhere. ``warnings`` counts
    scans by what their report would warn of.
    """

    model: EvaluatedModel
    data: str
    bootstrap: Bootstrap
    patient_count: int
    cases: tuple[CaseFigures, ...]
    voxels: VoxelAgreement | None
    scores: ScoreAgreement
    zero_found: Estimate
    calcium_found: Estimate
    arteries: tuple[ArteryAgreement, ...] | None
    naming: ArteryNaming | None
    sources: tuple[SourceFigures, ...] | None
    aortic_and_mitral: Estimate | None
    calcium_outside_region: Estimate | None
    warnings: dict[str, int]
    strata: tuple[StratumFigures, ...]

    @property
    def main_figures(self) -> dict[str, Estimate | None]:
        """The figures that aims and published results name."""
        return {
            "voxel_f1": None if self.voxels is None else self.voxels.f1,
            "icc": self.scores.icc,
            "kappa": self.scores.kappa,
            "category_accuracy": self.scores.category_accuracy,
            "aortic_and_mitral": self.aortic_and_mitral,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "cases": [case.as_dict() for case in self.cases]}


def summarise(
    model: EvaluatedModel, data: str, cases: Sequence[CaseFigures], bootstrap: Bootstrap
) -> EvaluationSummary:
    """Put the figures of many scans together.

    Parameters
    ----------
    model, data
        Which model on which scans, in words.
    cases
        At least one.
    bootstrap
        How intervals are made; strata use at most ``STRATUM_RESAMPLES`` resamples.
    """
    if not cases:
        raise ValueError("An evaluation needs at least one case.")
    reference = [case.reference_agatston_score for case in cases]
    measured = [case.agatston_score for case in cases]
    patients = [case.patient for case in cases]
    masked = [case for case in cases if case.voxels is not None]
    return EvaluationSummary(
        model=model,
        data=data,
        bootstrap=bootstrap,
        patient_count=len(set(patients)),
        cases=tuple(cases),
        voxels=voxel_agreement(masked, bootstrap) if masked else None,
        scores=score_agreement(reference, measured, patients=patients, bootstrap=bootstrap),
        zero_found=_part_of_cases(cases, has_calcium=False, bootstrap=bootstrap),
        calcium_found=_part_of_cases(cases, has_calcium=True, bootstrap=bootstrap),
        arteries=artery_agreement(cases, bootstrap),
        naming=artery_naming(cases, bootstrap),
        sources=source_figures(masked, bootstrap) if masked else None,
        aortic_and_mitral=(counted_part(masked, AORTIC_AND_MITRAL, bootstrap) if masked else None),
        calcium_outside_region=_outside_region(masked, bootstrap),
        warnings=dict(Counter(code for case in cases for code in case.warnings)),
        strata=tuple(stratum_figures(cases, bootstrap)),
    )


def voxel_agreement(cases: Sequence[CaseFigures], bootstrap: Bootstrap) -> VoxelAgreement:
    """Return the agreement of voxels and lesions of scans that have a mask."""
    voxels = [case.voxels for case in cases if case.voxels is not None]
    lesions = [case.lesions for case in cases if case.lesions is not None]
    patients = [case.patient for case in cases]
    return VoxelAgreement(
        f1=voxel_f1(voxels, patients=patients, bootstrap=bootstrap),
        mean_dice=mean_dice(voxels, patients=patients, bootstrap=bootstrap),
        precision=voxel_precision(voxels, patients=patients, bootstrap=bootstrap),
        sensitivity=voxel_sensitivity(voxels, patients=patients, bootstrap=bootstrap),
        lesion_sensitivity=lesion_sensitivity(lesions, patients=patients, bootstrap=bootstrap),
        lesion_precision=lesion_precision(lesions, patients=patients, bootstrap=bootstrap),
    )


def artery_agreement(
    cases: Sequence[CaseFigures], bootstrap: Bootstrap
) -> tuple[ArteryAgreement, ...] | None:
    """Return the agreement of each artery; None where no scan tells them apart."""
    rows = []
    for name in (*(artery.name for artery in Artery), READERS_LAD):
        known = [
            (case.patient, figures)
            for case in cases
            if (figures := _figures_of_artery(case, name)) is not None
        ]
        if known:
            rows.append(_artery_row(name, known, bootstrap))
    return tuple(rows) or None


def _figures_of_artery(case: CaseFigures, name: str) -> ArteryFigures | None:
    if case.arteries is None:
        return None
    if name != READERS_LAD:
        return case.arteries.get(name)
    both = [case.arteries.get(artery.name) for artery in (Artery.LM, Artery.LAD)]
    if both[0] is None or both[1] is None:
        return None
    return ArteryFigures(
        both[0].reference_agatston_score + both[1].reference_agatston_score,
        both[0].agatston_score + both[1].agatston_score,
        # Voxels that only change places between the two would count as wrong.
        voxels=None,
        lesions=None,
    )


def _artery_row(
    name: str, known: Sequence[tuple[str, ArteryFigures]], bootstrap: Bootstrap
) -> ArteryAgreement:
    patients = [patient for patient, _ in known]
    expected = [figures.reference_agatston_score for _, figures in known]
    found = [figures.agatston_score for _, figures in known]
    voxels = [(patient, one.voxels) for patient, one in known if one.voxels is not None]
    lesions = [(patient, one.lesions) for patient, one in known if one.lesions is not None]
    scores = score_agreement(expected, found, patients=patients, bootstrap=bootstrap)
    return ArteryAgreement(
        artery=name,
        calcified=sum(score > 0.0 for score in expected),
        voxel_f1=(
            voxel_f1(
                [counts for _, counts in voxels],
                patients=[patient for patient, _ in voxels],
                bootstrap=bootstrap,
            )
            if voxels
            else None
        ),
        lesion_sensitivity=(
            lesion_sensitivity(
                [counts for _, counts in lesions],
                patients=[patient for patient, _ in lesions],
                bootstrap=bootstrap,
            )
            if lesions
            else None
        ),
        icc=scores.icc,
        bias=scores.bland_altman.bias,
    )


def artery_naming(cases: Sequence[CaseFigures], bootstrap: Bootstrap) -> ArteryNaming | None:
    """Return how often the artery is right where both see calcium; None without such scans."""
    names = tuple(artery.name for artery in Artery)
    named = [(case, case.artery_confusion) for case in cases if case.artery_confusion is not None]
    if not named:
        return None
    patients = [case.patient for case, _ in named]

    def right(rows: Sequence[str]) -> Estimate:
        return pooled_part(
            [
                (
                    case.voxel_volume_mm3 * sum(table[row][row] for row in rows),
                    case.voxel_volume_mm3 * sum(sum(table[row].values()) for row in rows),
                )
                for case, table in named
            ],
            "no calcium of the reference is found",
            patients=patients,
            bootstrap=bootstrap,
        )

    return ArteryNaming(
        right=right(names),
        by_artery={name: right([name]) for name in names},
        arteries=names,
        volume_mm3=tuple(
            tuple(
                sum(case.voxel_volume_mm3 * table[row][column] for case, table in named)
                for column in names
            )
            for row in names
        ),
    )


def source_figures(cases: Sequence[CaseFigures], bootstrap: Bootstrap) -> tuple[SourceFigures, ...]:
    """Return what the model marks, by what it is; the largest part of the score first."""
    total = sum(case.agatston_score for case in cases)
    figures = []
    for source in SOURCES:
        present = [
            (case.voxel_volume_mm3, case.sources[source])
            for case in cases
            if case.sources is not None and source in case.sources
        ]
        if not present:
            continue
        score = sum(counts.agatston_score for _, counts in present)
        has_extent = any(counts.dense_voxels for _, counts in present)
        figures.append(
            SourceFigures(
                source=source,
                scans=sum(counts.marked_voxels > 0 for _, counts in present),
                marked_voxels=sum(counts.marked_voxels for _, counts in present),
                marked_volume_mm3=sum(volume * one.marked_voxels for volume, one in present),
                agatston_score=score,
                agatston_part=score / total if total else 0.0,
                counted_part=counted_part(cases, (source,), bootstrap) if has_extent else None,
            )
        )
    return tuple(sorted(figures, key=lambda one: -one.agatston_score))


def counted_part(
    cases: Sequence[CaseFigures], kinds: Sequence[str], bootstrap: Bootstrap
) -> Estimate:
    """Return the part of the volume of some kinds (at or above the threshold) that is marked.

    Only scans that hold such a kind stand behind it.
    """
    holders = []
    parts = []
    for case in cases:
        counts = [case.sources[kind] for kind in kinds if case.sources and kind in case.sources]
        dense = sum(one.dense_voxels or 0 for one in counts)
        if dense:
            marked = sum(one.marked_voxels for one in counts)
            holders.append(case.patient)
            parts.append((case.voxel_volume_mm3 * marked, case.voxel_volume_mm3 * dense))
    return pooled_part(parts, "no scan holds any", patients=holders, bootstrap=bootstrap)


def stratum_figures(cases: Sequence[CaseFigures], bootstrap: Bootstrap) -> list[StratumFigures]:
    """Return the main figures of every group of every stratum that divides the scans."""
    fewer = Bootstrap(min(bootstrap.resamples, STRATUM_RESAMPLES), bootstrap.seed, bootstrap.level)
    rows = []
    for stratum in STRATA:
        groups = grouped(cases, stratum)
        if len(groups) < 2:
            continue
        rows += [
            _stratum_row(stratum.name, name, members, fewer) for name, members in groups.items()
        ]
    return rows


def _stratum_row(
    stratum: str, group: str, cases: Sequence[CaseFigures], bootstrap: Bootstrap
) -> StratumFigures:
    patients = [case.patient for case in cases]
    expected = [case.reference_risk_category for case in cases]
    found = [case.risk_category for case in cases]
    masked = [case for case in cases if case.voxels is not None]
    voxels = voxel_agreement(masked, bootstrap) if masked else None
    return StratumFigures(
        stratum=stratum,
        group=group,
        scans=len(cases),
        voxel_f1=None if voxels is None else voxels.f1,
        lesion_sensitivity=None if voxels is None else voxels.lesion_sensitivity,
        icc=score_icc(
            [case.reference_agatston_score for case in cases],
            [case.agatston_score for case in cases],
            patients=patients,
            bootstrap=bootstrap,
        ),
        kappa=category_kappa(expected, found, patients=patients, bootstrap=bootstrap),
        category_accuracy=category_accuracy(
            expected, found, patients=patients, bootstrap=bootstrap
        ),
    )


def _outside_region(cases: Sequence[CaseFigures], bootstrap: Bootstrap) -> Estimate | None:
    parts, patients = [], []
    for case in cases:
        if case.calcium_outside_region is not None and case.voxels is not None:
            calcium = case.voxels.true_positives + case.voxels.false_negatives
            parts.append(
                (
                    case.voxel_volume_mm3 * case.calcium_outside_region,
                    case.voxel_volume_mm3 * calcium,
                )
            )
            patients.append(case.patient)
    if not parts:
        return None
    return pooled_part(
        parts, "the reference holds no calcium", patients=patients, bootstrap=bootstrap
    )


def _part_of_cases(
    cases: Sequence[CaseFigures], *, has_calcium: bool, bootstrap: Bootstrap
) -> Estimate:
    """Return the part of the scans with (or without) calcium that the model tells so."""
    zero = RISK_CATEGORIES[0]
    chosen = [case for case in cases if (case.reference_risk_category != zero) == has_calcium]
    return pooled_part(
        [(float((case.risk_category != zero) == has_calcium), 1.0) for case in chosen],
        f"no scan of the reference {'has' if has_calcium else 'is without'} calcium",
        patients=[case.patient for case in chosen],
        bootstrap=bootstrap,
    )
