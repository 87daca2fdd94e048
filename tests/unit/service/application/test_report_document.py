"""The report as JSON: complete, unrounded, and nothing invented."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from calcium_scoring.dicom.write_series import derived_identity
from calcium_scoring.errors import SeriesWarning
from calcium_scoring.scoring.components import account_for_components
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.image_noise import ImageNoise
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.scoring.uncertainty import ScoreUncertainty, UncertaintyGap
from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from calcium_scoring.volume.patient import PatientFacts, Sex
from calcium_scoring.volume.searched_voxels import SearchedPart, SearchedVoxels
from service.api.schemas import CalciumReportResponse
from service.application.jobs import ModelIdentity
from service.application.report_document import report_document
from service.application.report_terms import ReportDocument
from tests.builders import plaque_phantom

MODEL = ModelIdentity("DenseRAUnet", "1.2.0", "ab" * 32, is_provisional=False)


def document_of(
    *,
    label: int = CORONARY,
    has_artery_labels: bool = False,
    model: ModelIdentity | None = MODEL,
    warnings: tuple[SeriesWarning, ...] = (),
    mass_calibration_factor: float | None = None,
    protocol: ScoringProtocol = LITERATURE,
    kvp: float | None = None,
    patient: PatientFacts | None = None,
) -> ReportDocument:
    volume, label_map = plaque_phantom(label=label)
    volume = replace(
        volume,
        identity=derived_identity("test", 6),
        mass_calibration_factor=mass_calibration_factor,
        patient=patient or PatientFacts(),
        acquisition=CtAcquisition(
            kvp=kvp,
            calcium_scoring_mass_factor_patient=0.75,
            calcium_scoring_mass_factor_device=(0.743, 0.779, 0.812),
        ),
    )
    report = measure_calcium(
        volume,
        label_map,
        protocol=protocol,
        has_artery_labels=has_artery_labels,
        conventions=CONVENTIONS.values(),
    )
    return report_document(report, volume, model=model, warnings=warnings)


def test_document_follows_its_schema_and_survives_json() -> None:
    for document in (
        document_of(),
        document_of(label=Artery.LAD, has_artery_labels=True, mass_calibration_factor=0.8),
        document_of(model=None),
    ):
        text = json.dumps(document, allow_nan=False)
        assert CalciumReportResponse.model_validate_json(text).model_dump(mode="json") == document


def test_plaque_of_two_slices_scores_one_hundred() -> None:
    document = document_of()
    # 2 slices x 25 mm2 x weight 2; 2 x 100 voxels of 0.75 mm3
    assert document["agatston_score"] == pytest.approx(100.0)
    assert document["volume_score_mm3"] == pytest.approx(150.0)
    assert document["mass_score_mg"] is None
    assert document["risk_category"] == "11-100"
    assert document["cac_drs_category"] == "A2"


def test_binary_mask_gives_no_numbers_per_artery() -> None:
    document = document_of()
    assert document["arteries"] == {"LM": None, "LAD": None, "LCX": None, "RCA": None}
    assert document["vessel_count"] is None
    assert document["lesions"][0]["artery"] is None


def test_named_arteries_have_scores_zero_included() -> None:
    document = document_of(label=Artery.LAD, has_artery_labels=True)
    assert document["arteries"]["LAD"]["agatston_score"] == pytest.approx(100.0)
    assert document["arteries"]["RCA"]["agatston_score"] == 0.0
    assert document["vessel_count"] == 1
    assert document["lesions"][0]["artery"] == "LAD"


def test_lesion_names_its_slices_and_their_instances() -> None:
    (lesion,) = document_of()["lesions"]
    uids = derived_identity("test", 6).sop_instance_uids
    assert (lesion["first_slice_index"], lesion["last_slice_index"]) == (1, 2)
    assert lesion["sop_instance_uids"] == [uids[1], uids[2]]
    assert [part["sop_instance_uid"] for part in lesion["slices"]] == [uids[1], uids[2]]
    assert [part["density_weight"] for part in lesion["slices"]] == [2, 2]
    # rows and columns 10 to 19 of 0.5 mm, slices 1 and 2 of 3 mm
    assert lesion["centroid_lps_mm"] == pytest.approx([7.25, 7.25, 4.5])


def test_scores_of_a_lesion_have_the_names_of_the_glossary_and_its_parts_sum_to_it() -> None:
    volume, label_map = plaque_phantom(spacing_between_slices_mm=1.5)
    volume = replace(volume, mass_calibration_factor=0.8)
    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
    document = report_document(report, volume, model=None)

    (lesion,) = document["lesions"]

    # one lesion: its scores are those of the report
    for name in ("agatston_score", "volume_score_mm3", "mass_score_mg"):
        assert lesion[name] == pytest.approx(document[name])
    # 25 mm2 x weight 2 x 1.5 mm / 3 mm in each slice
    assert [part["agatston_score"] for part in lesion["slices"]] == pytest.approx([25.0, 25.0])
    assert lesion["agatston_score"] == pytest.approx(50.0)


def test_mass_needs_a_calibration() -> None:
    # 0.8 mg/(cm3 HU) x 250 HU x 0.150 cm3
    assert document_of(mass_calibration_factor=0.8)["mass_score_mg"] == pytest.approx(30.0)


def test_provisional_model_is_warned_of() -> None:
    warning = SeriesWarning("kvp_not_120", "100 kV.", {"kvp": 100.0})
    codes = [
        [one["code"] for one in document_of(model=model, warnings=(warning,))["warnings"]]
        for model in (MODEL, replace(MODEL, is_provisional=True), None)
    ]
    assert codes == [["kvp_not_120"], ["kvp_not_120", "provisional_model"], ["kvp_not_120"]]


def document_with_components() -> ReportDocument:
    """A plaque of two slices in the mask, and a valve of 1.5 x 1.5 mm that the network refused."""
    volume, label_map = plaque_phantom()
    hu = volume.hu.copy()
    hu[4, 25:28, 25:28] = 450.0
    volume = CtVolume(volume.geometry, hu, identity=derived_identity("test", 6))
    label_map = LabelMap(volume.geometry, label_map.labels.copy())
    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
    indices = np.flatnonzero(hu >= 130.0)
    is_valve = indices >= np.ravel_multi_index((4, 0, 0), hu.shape)
    voxels = SearchedVoxels(
        volume.geometry,
        SearchedPart.HEART_REGION,
        indices,
        np.where(is_valve, 0.25, 0.75).astype(np.float32),
        np.where(is_valve, 1, 0).astype(np.uint8),
        ("LAD", "VALVE"),
    )
    components = account_for_components(volume, label_map, report.lesions, voxels, LITERATURE)
    return report_document(report, volume, model=MODEL, components=components)


def test_every_dense_voxel_is_in_the_document_as_kept_or_rejected() -> None:
    document = document_with_components()

    text = json.dumps(document, allow_nan=False)
    assert CalciumReportResponse.model_validate_json(text).model_dump(mode="json") == document
    components = document["components"]
    assert components["voxel_count"] == 200 + 9
    assert (components["kept_voxel_count"], components["rejected_voxel_count"]) == (200, 9)
    assert components["kept"] == [
        {
            "lesion_id": 1,
            "voxel_count": 200,
            "mean_probability": 0.75,
            "max_probability": 0.75,
            "kind": "LAD",
            "kind_share": 1.0,
        }
    ]
    (valve,) = components["rejected"]
    assert valve["reason"] == "below_probability"
    assert (valve["kind"], valve["max_probability"]) == ("VALVE", 0.25)
    # 9 pixels of 0.25 mm2 x weight 4
    assert valve["agatston_score_if_kept"] == pytest.approx(9.0)
    assert valve["centroid_lps_mm"] == pytest.approx([13.0, 13.0, 12.0])
    assert components["rejected_count"]["below_probability"] == 1


def test_a_report_without_an_account_says_so() -> None:
    assert document_of()["components"] is None


def document_with_uncertainty(uncertainty: ScoreUncertainty | UncertaintyGap) -> ReportDocument:
    volume, label_map = plaque_phantom()
    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
    document = report_document(report, volume, model=MODEL, uncertainty=uncertainty)
    text = json.dumps(document, allow_nan=False)
    assert CalciumReportResponse.model_validate_json(text).model_dump(mode="json") == document
    return document


def test_what_repeat_scans_would_score_stands_beside_what_was_published() -> None:
    probabilities = {"0": 0.0, "1-10": 0.0, "11-100": 0.4, "101-400": 0.6, ">400": 0.0}
    noise = ImageNoise(18.0, 0.1, 0.6, 0.6)

    document = document_with_uncertainty(
        ScoreUncertainty(0.9, 82.0, 121.0, 1.0, probabilities, noise, 200)
    )

    uncertainty = document["uncertainty"]
    assert (uncertainty["level"], uncertainty["low"], uncertainty["high"]) == (0.9, 82.0, 121.0)
    assert uncertainty["risk_category_probabilities"] == probabilities
    assert uncertainty["noise_sd_hu"] == 18.0
    assert uncertainty["reason"] is None
    assert uncertainty["published_variability"] == 0.1345
    assert "2014;32:677-684" in uncertainty["published_variability_source"]


def test_where_nothing_can_be_said_of_repeat_scans_the_reason_stands() -> None:
    uncertainty = document_with_uncertainty(UncertaintyGap.NOTHING_MARKED)["uncertainty"]

    assert uncertainty["reason"] == "nothing_marked"
    assert uncertainty["low"] is uncertainty["probability_above_zero"] is None
    assert uncertainty["risk_category_probabilities"] is None


def test_other_conventions_stand_beside_the_score_with_their_rules() -> None:
    document = document_of()

    assert [one["name"] for one in document["conventions"]] == list(CONVENTIONS)[1:]
    for one in document["conventions"]:
        # one plaque of 25 mm2 in two slices is the same to everyone
        assert one["agatston_score"] == pytest.approx(100.0)
        assert one["category_stable"]
        assert one["protocol"]["name"] == one["name"]
        assert one["protocol"]["source"]
    assert document["category_stable"]
    assert document["protocol"]["source"]


def test_the_reported_convention_is_not_repeated_beside_itself() -> None:
    document = document_of(protocol=CONVENTIONS["siemens"])

    assert document["protocol"]["name"] == "siemens"
    names = [one["name"] for one in document["conventions"]]
    assert "literature" in names
    assert "siemens" not in names


def test_mass_factors_of_the_header_are_shown_and_not_used() -> None:
    document = document_of()

    assert document["series"]["calcium_scoring_mass_factor_patient"] == 0.75
    assert document["series"]["calcium_scoring_mass_factor_device"] == [0.743, 0.779, 0.812]
    assert document["mass_score_mg"] is None


def test_thresholds_of_a_table_are_in_the_protocol_of_the_report() -> None:
    document = document_of(protocol=replace(LITERATURE, tube_voltage_table="grani_2018"), kvp=100.0)

    assert document["protocol"]["threshold_hu"] == 145.0
    assert document["protocol"]["density_weight_bounds_hu"] == [145.0, 222.0, 334.0, 446.0]
    assert document["warnings"] == []


@pytest.mark.parametrize("kvp", [110.0, None])
def test_a_tube_voltage_that_the_table_lacks_is_warned_of(kvp: float | None) -> None:
    document = document_of(protocol=replace(LITERATURE, tube_voltage_table="grani_2018"), kvp=kvp)

    (warning,) = document["warnings"]
    assert warning["code"] == "tube_voltage_not_in_table"
    assert "130 HU" in warning["message"]
    assert document["protocol"]["threshold_hu"] == 130.0


def test_age_and_sex_of_the_header_give_a_percentile() -> None:
    document = document_of(patient=PatientFacts(62, Sex.FEMALE))

    # women of 60 to 64: 0/3/57/193
    assert document["categories"]["hoff_percentile"]["value"] == "75-90"
    assert document["categories"]["patient"]["age_years"] == 62
