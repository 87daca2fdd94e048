"""A simulated case says of itself what its image cannot."""

from __future__ import annotations

from pathlib import Path

from calcium_scoring.phantom.patient import simulate_patient
from calcium_scoring.scoring.protocol import LITERATURE
from model_training.cases import read_case
from model_training.evaluate import scan_of_case
from model_training.evaluation.case_figures import FoundInScan, measure_case
from model_training.evaluation.strata import NOT_KNOWN, STRATA
from model_training.simulate import case_of_patient, is_simulated


def test_simulated_case_is_in_a_known_group_of_every_stratum(tmp_path: Path) -> None:
    patient = simulate_patient(
        200_003, kind="chest", matrix_size=128, z_extent_mm=40.0, spacing_between_slices_mm=5.0
    )
    case = read_case(case_of_patient(tmp_path, "test", patient).folder)

    scan = scan_of_case(case)
    figures = measure_case(
        scan,
        FoundInScan(case.load_reference_label_map()),
        model_has_arteries=True,
        protocol=LITERATURE,
    )

    assert is_simulated(case)
    assert case.attributes["scan.motion_mm"] == patient.scan_settings.motion_mm
    assert case.attributes["patient.sex"] == patient.patient_settings.sex
    groups = {stratum.name: stratum.group_of(figures) for stratum in STRATA}
    assert NOT_KNOWN not in groups.values(), groups
