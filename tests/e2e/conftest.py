"""One service for all tests of a run; its studies are uploaded together and scored meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running_service import CACSCORE, RunningService
from tests.fakes import write_threshold_model

PHANTOM_SEED = 39  # a gated scan of 49 slices


@pytest.fixture(scope="session", autouse=True)
def _curl() -> None:
    """The documented requests are sent as documented; CI must have curl, elsewhere it is a skip."""
    if shutil.which("curl") is None:
        message = "No curl on this machine"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def paper_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose "network" is a threshold, so that scores can be worked out on paper."""
    folder = tmp_path_factory.mktemp("paper-service")
    model = write_threshold_model(folder / "threshold.onnx")
    running = RunningService(folder / "data", folder / "words.txt", CACSCORE_MODEL_PATH=str(model))
    yield running
    running.end()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    running = RunningService(folder / "data", folder / "words.txt")
    yield running
    running.end()


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated patient: ct.zip, truth_mask.nii.gz, truth.json."""
    out = tmp_path_factory.mktemp("phantoms")
    subprocess.run(
        [*CACSCORE, "phantom", "--out", str(out), "--seed", str(PHANTOM_SEED), "--zip"],
        check=True,
        timeout=300,
    )
    return out / "patient-0001"


@pytest.fixture(scope="session")
def archives(real_data: Path, phantom_folder: Path) -> dict[str, Path]:
    return {
        "LIDC-0002": real_data / "lidc-idri" / "LIDC-IDRI-0002_i70-i150.zip",
        "Lung-Dx A0001": real_data / "lung-pet-ct-dx" / "Lung_Dx-A0001_5mm_kernelB_full.zip",
        "QRM phantom": real_data / "molloilab-cac-stanford-data" / "canon_Large_rep1.zip",
        "JPEG 2000": real_data / "totalsegmentator" / "example_ct_dicom_j2k_no_sopclass.zip",
        "tilted head": real_data / "dcm_qa_ct" / "GE_tilt18.5_irregular_spacing.zip",
        "contrast": real_data / "lidc-idri" / "LIDC-IDRI-0003_contrast_gap_i28-i78.zip",
        "simulated patient": phantom_folder / "ct.zip",
    }


@pytest.fixture(scope="session")
def study_ids(service: RunningService, archives: dict[str, Path]) -> dict[str, str]:
    """The ids of all studies; each was accepted."""
    ids = {}
    for name, archive in archives.items():
        answer = service.upload(archive)
        assert answer.status == 202, (name, answer)
        ids[name] = answer.document["id"]
    return ids
