"""The report as a plain JSON document: the same for `GET .../score`, `report.json` and the CLI.

Numbers are unrounded and carry their unit in their name; what is not known is null.
``docs`` and the OpenAPI schema describe the fields; ``SCHEMA_VERSION`` is raised with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from calcium_scoring.errors import SeriesWarning
from calcium_scoring.scoring.agatston import agatston_score, density_weight
from calcium_scoring.scoring.components import (
    ComponentAccount,
    ModelOpinion,
    RejectedComponent,
    RejectionReason,
)
from calcium_scoring.scoring.conventions import CONVENTION_SOURCES
from calcium_scoring.scoring.lesions import Lesion, SliceLesion
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.scoring.report import CalciumReport, CalciumScores, ConventionScore
from calcium_scoring.scoring.tracking import lesion_tracking_uid
from calcium_scoring.scoring.tube_voltage import TUBE_VOLTAGE_TABLES
from calcium_scoring.scoring.uncertainty import (
    PUBLISHED_VARIABILITY,
    PUBLISHED_VARIABILITY_SOURCE,
    ScoreUncertainty,
    UncertaintyGap,
)
from calcium_scoring.version import __version__
from calcium_scoring.volume.ct_volume import CtVolume, SeriesIdentity
from calcium_scoring.volume.label_map import Artery
from service.application.categories import NOTHING_GIVEN, GivenFacts, categories_document
from service.application.engine import EngineIdentity
from service.application.jobs import ModelIdentity
from service.application.report_terms import INTENDED_USE, SCHEMA_VERSION, ReportDocument

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def report_document(
    report: CalciumReport,
    volume: CtVolume,
    *,
    model: ModelIdentity | None,
    engine: EngineIdentity | None = None,
    warnings: Sequence[SeriesWarning] = (),
    other_series: Sequence[DataclassInstance] = (),
    left_out_files: Sequence[DataclassInstance] = (),
    components: ComponentAccount | None = None,
    uncertainty: ScoreUncertainty | UncertaintyGap | None = None,
    given: GivenFacts = NOTHING_GIVEN,
) -> ReportDocument:
    """Return the document of a measured series.

    ``model`` is None where a reader's own mask was measured, and so is ``engine``, what ran the
    model. ``other_series`` and
    ``left_out_files``, as a CtSeries has them, say what else was in the upload and why it was
    not scored. ``components`` is what became of every dense voxel; None where nobody kept account.
    ``uncertainty`` is what repeat scans would score; None where it was not asked for.
    ``given`` is what a user said about the patient; risk factors in it may raise what
    :func:`categories_document` raises.
    """
    notes = [
        *warnings,
        *_tube_voltage_warnings(report.protocol, volume),
        *([_provisional(model)] if model and model.is_provisional else []),
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "service_version": __version__,
        "intended_use": INTENDED_USE,
        "agatston_score": report.total.agatston_score,
        "volume_score_mm3": report.total.volume_score_mm3,
        "interpolated_volume_score_mm3": report.total.interpolated_volume_score_mm3,
        "mass_score_mg": report.total.mass_score_mg,
        "lesion_count": report.total.lesion_count,
        "risk_category": report.risk_category,
        "cac_drs_category": report.cac_drs_category,
        "vessel_count": report.vessel_count,
        "uncertainty": None if uncertainty is None else _uncertainty(uncertainty),
        "categories": categories_document(
            report.total.agatston_score, report.vessel_count, volume.patient, given
        ),
        "category_stable": report.category_stable,
        "conventions": [_convention(one) for one in report.conventions],
        "arteries": {
            artery.name: None if report.arteries is None else _scores(report.arteries[artery])
            for artery in Artery
        },
        "lesions": [_lesion(lesion, report, volume.identity) for lesion in report.lesions],
        "components": None if components is None else _components(components, volume),
        "series": _series(volume),
        "protocol": _protocol(report.protocol),
        "model": None if model is None else asdict(model),
        "engine": None if engine is None else {**asdict(engine), "providers": [*engine.providers]},
        "warnings": [
            {"code": note.code, "message": note.message, "evidence": dict(note.evidence)}
            for note in notes
        ],
        "other_series": [asdict(other) for other in other_series],
        "left_out_files": [_left_out(file) for file in left_out_files],
    }


def _left_out(file: DataclassInstance) -> dict[str, Any]:
    """Return all but the name: the sender's file names hold patients' names."""
    return {key: value for key, value in asdict(file).items() if key != "name"}


def _scores(scores: CalciumScores) -> dict[str, Any]:
    return asdict(scores)


def _lesion(
    lesion: Lesion, report: CalciumReport, identity: SeriesIdentity | None
) -> dict[str, Any]:
    scores = report.scores_of([lesion])
    # A branching lesion may have several parts in one slice.
    slice_indices = sorted({part.slice_index for part in lesion.slice_lesions})
    return {
        "id": lesion.lesion_id,
        "tracking_uid": (
            None if identity is None else lesion_tracking_uid(lesion, identity.series_instance_uid)
        ),
        "artery": None if lesion.artery is None else lesion.artery.name,
        "first_slice_index": lesion.first_slice_index,
        "last_slice_index": lesion.last_slice_index,
        "sop_instance_uids": [_sop_instance_uid(identity, index) for index in slice_indices]
        if identity
        else [],
        "area_mm2": lesion.area_mm2,
        "volume_score_mm3": scores.volume_score_mm3,
        "interpolated_volume_score_mm3": scores.interpolated_volume_score_mm3,
        "mass_score_mg": scores.mass_score_mg,
        "peak_hu": lesion.peak_hu,
        "mean_hu": lesion.mean_hu,
        "density_weight": density_weight(lesion.peak_hu, report.protocol),
        "agatston_score": scores.agatston_score,
        "centroid_lps_mm": list(report.geometry.position_lps_mm(lesion.centroid_index)),
        "slices": [_slice_part(part, report, identity) for part in lesion.slice_lesions],
    }


def _slice_part(
    part: SliceLesion, report: CalciumReport, identity: SeriesIdentity | None
) -> dict[str, Any]:
    return {
        "slice_index": part.slice_index,
        "sop_instance_uid": _sop_instance_uid(identity, part.slice_index),
        "area_mm2": part.area_mm2,
        "peak_hu": part.peak_hu,
        "mean_hu": part.mean_hu,
        "density_weight": density_weight(part.weighing_peak_hu, report.protocol),
        "agatston_score": agatston_score(
            [part],
            report.protocol,
            spacing_between_slices_mm=report.geometry.spacing_between_slices_mm,
        ),
    }


def _uncertainty(uncertainty: ScoreUncertainty | UncertaintyGap) -> dict[str, Any]:
    known = uncertainty if isinstance(uncertainty, ScoreUncertainty) else None
    return {
        "level": None if known is None else known.level,
        "low": None if known is None else known.low,
        "high": None if known is None else known.high,
        "probability_above_zero": None if known is None else known.probability_above_zero,
        "risk_category_probabilities": (
            None if known is None else dict(known.category_probabilities)
        ),
        "noise_sd_hu": None if known is None else known.noise.sd_hu,
        "draw_count": None if known is None else known.draw_count,
        "reason": uncertainty.value if isinstance(uncertainty, UncertaintyGap) else None,
        "published_variability": PUBLISHED_VARIABILITY,
        "published_variability_source": PUBLISHED_VARIABILITY_SOURCE,
    }


def _components(account: ComponentAccount, volume: CtVolume) -> dict[str, Any]:
    return {
        "searched": account.part.value,
        "threshold_hu": account.threshold_hu,
        "voxel_count": account.voxel_count,
        "kept_voxel_count": account.kept_voxel_count,
        "rejected_voxel_count": account.rejected_voxel_count,
        "rejected_count": {
            reason.value: sum(one.reason is reason for one in account.rejected)
            for reason in RejectionReason
        },
        "kept": [
            {
                "lesion_id": one.lesion_id,
                "voxel_count": one.voxel_count,
                **_opinion(one.opinion),
            }
            for one in account.kept
        ],
        "rejected": [_rejected(one, volume) for one in account.rejected],
    }


def _rejected(component: RejectedComponent, volume: CtVolume) -> dict[str, Any]:
    return {
        "id": component.component_id,
        "reason": component.reason.value,
        "first_slice_index": component.first_slice_index,
        "last_slice_index": component.last_slice_index,
        "centroid_lps_mm": list(volume.geometry.position_lps_mm(component.centroid_index)),
        "voxel_count": component.voxel_count,
        "area_mm2": component.area_mm2,
        "largest_area_mm2": component.largest_area_mm2,
        "volume_mm3": component.volume_mm3,
        "peak_hu": component.peak_hu,
        "mean_hu": component.mean_hu,
        "agatston_score_if_kept": component.agatston_score,
        "marked_voxel_count": component.marked_voxel_count,
        "touched_lesion_ids": list(component.touched_lesion_ids),
        "continues_outside": component.continues_outside,
        **_opinion(component.opinion),
    }


def _opinion(opinion: ModelOpinion | None) -> dict[str, Any]:
    return {
        "mean_probability": None if opinion is None else opinion.mean_probability,
        "max_probability": None if opinion is None else opinion.max_probability,
        "kind": None if opinion is None else opinion.kind,
        "kind_share": None if opinion is None else opinion.kind_share,
    }


def _sop_instance_uid(identity: SeriesIdentity | None, slice_index: int) -> str | None:
    return None if identity is None else identity.sop_instance_uids[slice_index]


def _series(volume: CtVolume) -> dict[str, Any]:
    geometry, acquisition, identity = volume.geometry, volume.acquisition, volume.identity
    slices, rows, columns = geometry.shape
    return {
        "study_instance_uid": None if identity is None else identity.study_instance_uid,
        "series_instance_uid": None if identity is None else identity.series_instance_uid,
        "frame_of_reference_uid": None if identity is None else identity.frame_of_reference_uid,
        "slice_count": slices,
        "rows": rows,
        "columns": columns,
        "spacing_between_slices_mm": geometry.spacing_between_slices_mm,
        "pixel_spacing_mm": list(geometry.pixel_spacing_mm),
        "manufacturer": acquisition.manufacturer,
        "manufacturer_model_name": acquisition.manufacturer_model_name,
        "kvp": acquisition.kvp,
        "slice_thickness_mm": acquisition.slice_thickness_mm,
        "convolution_kernel": list(acquisition.convolution_kernel),
        "is_ecg_gated": acquisition.is_ecg_gated,
        "is_contrast_enhanced": acquisition.is_contrast_enhanced,
        "series_description": acquisition.series_description,
        "mass_calibration_factor": volume.mass_calibration_factor,
        "calcium_scoring_mass_factor_patient": acquisition.calcium_scoring_mass_factor_patient,
        "calcium_scoring_mass_factor_device": (
            None
            if acquisition.calcium_scoring_mass_factor_device is None
            else list(acquisition.calcium_scoring_mass_factor_device)
        ),
    }


def _protocol(protocol: ScoringProtocol) -> dict[str, Any]:
    return {
        **asdict(protocol),
        "density_weight_bounds_hu": list(protocol.density_weight_bounds_hu),
        "source": CONVENTION_SOURCES.get(protocol.name),
    }


def _convention(convention: ConventionScore) -> dict[str, Any]:
    return {
        **_scores(convention.scores),
        "name": convention.protocol.name,
        "risk_category": convention.risk_category,
        "cac_drs_category": convention.cac_drs_category,
        "category_stable": convention.category_stable,
        "protocol": _protocol(convention.protocol),
    }


def _tube_voltage_warnings(protocol: ScoringProtocol, volume: CtVolume) -> list[SeriesWarning]:
    table, kvp = TUBE_VOLTAGE_TABLES[protocol.tube_voltage_table], volume.acquisition.kvp
    if table.covers(kvp):
        return []
    found = "unknown" if kvp is None else f"{kvp:g} kV"
    covered = ", ".join(f"{one:g}" for one in table.by_kvp)
    return [
        SeriesWarning(
            "tube_voltage_not_in_table",
            f"The tube voltage is {found}; the table {table.name} has {covered} kV. The threshold "
            f"stayed at {protocol.threshold_hu:g} HU.",
            {"kvp": kvp, "tube_voltage_table": table.name, "threshold_hu": protocol.threshold_hu},
        )
    ]


def _provisional(model: ModelIdentity) -> SeriesWarning:
    return SeriesWarning(
        "provisional_model",
        f"{model.name} {model.version} is provisional: it learned from simulated calcium and was "
        "never compared with experts' annotations of patients. Its scores are not established.",
        {"model_name": model.name, "model_version": model.version},
    )
