"""The published Agatston scores of a scanned QRM phantom, to the third decimal.

Scan and scores: MolloiLab/CAC-stanford-data (Med Phys 2021, PMC8360117), ``canon_Large_rep1``.
``expected_agatston.json`` beside the scan says which regions belong to an insert: 8-connected
within a slice, >= 130 HU, every pixel within 12 pixels of the insert's centre, in slices 17 to
27 counted from the lowest. The small insert is left out, as the file advises.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.scoring.conventions import CONVENTIONS, GE
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import LabelMap, MaskArray

INSERTS = ("Large_HD", "Medium_HD", "Large_MD", "Medium_MD", "Large_LD", "Medium_LD")
INSERT_RADIUS_PIXELS = 12.0

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="session")
def qrm_folder(real_data: Path) -> Path:
    return real_data / "molloilab-cac-stanford-data"


@pytest.fixture(scope="session")
def expected(qrm_folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((qrm_folder / "expected_agatston.json").read_text())
    return document


@pytest.fixture(scope="session")
def qrm_volume(qrm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CtVolume:
    upload = qrm_folder / "canon_Large_rep1.zip"
    return read_ct_series(upload, tmp_path_factory.mktemp("qrm")).volume


def insert_mask(volume: CtVolume, expected: dict[str, Any], insert: str) -> MaskArray:
    """All regions that lie completely within the circle round the insert's centre."""
    centre = np.array(expected["inserts"][insert]["centre_row_col"])
    lowest, highest = expected["slices_summed_index_by_z"]
    mask = np.zeros(volume.geometry.shape, dtype=bool)
    for index in range(lowest, highest + 1):
        regions, _ = ndimage.label(volume.hu[index] >= 130.0, structure=np.ones((3, 3)))
        rows, columns = np.indices(regions.shape)
        distance = np.hypot(rows - centre[0], columns - centre[1])
        numbers = np.arange(1, regions.max() + 1)
        farthest = ndimage.maximum(distance, regions, numbers)
        mask[index] = np.isin(regions, numbers[np.asarray(farthest) <= INSERT_RADIUS_PIXELS])
    return mask


def agatston_score_of(
    volume: CtVolume, mask: MaskArray, protocol: ScoringProtocol = LITERATURE
) -> float:
    report = measure_calcium(
        volume,
        LabelMap.from_mask(volume.geometry, mask),
        protocol=protocol,
        has_artery_labels=False,
    )
    return report.total.agatston_score


@pytest.fixture(scope="session")
def insert_masks(qrm_volume: CtVolume, expected: dict[str, Any]) -> dict[str, MaskArray]:
    return {insert: insert_mask(qrm_volume, expected, insert) for insert in INSERTS}


@pytest.mark.parametrize("insert", INSERTS)
def test_insert_has_its_published_score(
    insert: str,
    qrm_volume: CtVolume,
    insert_masks: dict[str, MaskArray],
    expected: dict[str, Any],
) -> None:
    score = agatston_score_of(qrm_volume, insert_masks[insert])

    assert score == pytest.approx(expected["inserts"][insert]["published_FQM"], abs=0.001)


@pytest.mark.parametrize("insert", INSERTS)
def test_four_connected_protocol_of_the_emulation_gives_its_own_scores(
    insert: str,
    qrm_volume: CtVolume,
    insert_masks: dict[str, MaskArray],
    expected: dict[str, Any],
) -> None:
    score = agatston_score_of(qrm_volume, insert_masks[insert], GE)

    wanted = expected["inserts"][insert]["with_4_connectivity"]
    assert score == pytest.approx(wanted, abs=0.001)


def test_three_inserts_tell_the_connectivities_apart(expected: dict[str, Any]) -> None:
    differing = {
        insert
        for insert in INSERTS
        if expected["inserts"][insert]["with_4_connectivity"]
        != expected["inserts"][insert]["published_FQM"]
    }

    assert differing == {"Large_HD", "Medium_HD", "Large_LD"}


def test_six_inserts_together_score_the_published_sum(
    qrm_volume: CtVolume, insert_masks: dict[str, MaskArray]
) -> None:
    mask = np.logical_or.reduce(list(insert_masks.values()))

    assert agatston_score_of(qrm_volume, mask) == pytest.approx(960.435, abs=0.001)
    assert LITERATURE.in_plane_connectivity == 8


def figures_of_the_documentation(repository: Path) -> dict[str, float]:
    """The last column of the table of conventions, by name."""
    text = (repository / "docs" / "scoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+\.\d{3}) \|$", text, flags=re.MULTILINE)
    return {name: float(score) for name, score in rows}


def test_every_convention_scores_the_six_inserts_in_one_call(
    qrm_volume: CtVolume,
    insert_masks: dict[str, MaskArray],
    expected: dict[str, Any],
    repository: Path,
) -> None:
    mask = np.logical_or.reduce(list(insert_masks.values()))

    report = measure_calcium(
        qrm_volume,
        LabelMap.from_mask(qrm_volume.geometry, mask),
        protocol=LITERATURE,
        has_artery_labels=False,
        conventions=CONVENTIONS.values(),
    )

    scores = {one.protocol.name: one.scores.agatston_score for one in report.conventions}
    assert set(scores) == set(CONVENTIONS) - {"literature"}
    # The figures that docs/scoring.md shows to users.
    told = figures_of_the_documentation(repository)
    assert set(told) == set(CONVENTIONS)
    for name, score in scores.items():
        assert score == pytest.approx(told[name], abs=0.001), name
    assert told["literature"] == pytest.approx(report.total.agatston_score, abs=0.001)
    # Four-connected, 1 mm2: the sum of the six values beside the scan.
    four_connected = sum(expected["inserts"][insert]["with_4_connectivity"] for insert in INSERTS)
    assert scores["ge"] == pytest.approx(four_connected, abs=0.003)
    # A smaller smallest lesion adds to the score and takes nothing away.
    assert scores["ge"] <= scores["philips"] <= scores["siemens"]
    assert scores["ge"] <= scores["canon"] <= scores["siemens"]
    # One peak for a whole insert weighs its faint end slices like its dense ones.
    assert scores["ai_cac"] > 960.435
    assert report.category_stable


@pytest.fixture(scope="session")
def six_insert_mask_file(
    insert_masks: dict[str, MaskArray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    file = tmp_path_factory.mktemp("mask") / "inserts.npy"
    np.save(file, np.logical_or.reduce(list(insert_masks.values())))
    return file


def measure(qrm_folder: Path, *arguments: str) -> str:
    """Run the command as a user does; stdout holds nothing but the result."""
    command = [sys.executable, "-m", "service.cli.main", "measure"]
    result = subprocess.run(
        [*command, str(qrm_folder / "canon_Large_rep1.zip"), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return result.stdout


def test_measure_command_prints_the_published_sum(
    qrm_folder: Path, six_insert_mask_file: Path
) -> None:
    printed = measure(qrm_folder, "--mask", str(six_insert_mask_file))

    assert "960.435" in printed
    assert "Research use only" in printed


def test_measure_command_prints_the_published_sum_as_json(
    qrm_folder: Path, six_insert_mask_file: Path
) -> None:
    printed = measure(qrm_folder, "--mask", str(six_insert_mask_file), "--json")

    document = json.loads(printed)
    assert document["agatston_score"] == pytest.approx(960.435, abs=0.001)
    assert document["risk_category"] == ">400"
    assert document["model"] is None
    assert set(document["arteries"].values()) == {None}
