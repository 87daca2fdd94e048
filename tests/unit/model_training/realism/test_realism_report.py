"""Scans that differ are told apart, scans that do not are not; levels, sheets and the log."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calcium_scoring.phantom.settings import sample_patient
from model_training.realism.commands import realism
from model_training.realism.report import (
    LOG_HEADING,
    LOG_RULE,
    RealismReport,
    append_log_row,
    compare,
    heart_noise_hu,
)
from model_training.realism.scans import (
    AIR_HU,
    SLAB_SLICES,
    Level,
    Scan,
    Slab,
    height_mm,
    marked_scans,
    read_real_scan,
)
from model_training.realism.sheets import write_sheets


def chest_scan(
    name: str,
    *,
    is_real: bool,
    matched_to: str,
    noise_hu: float = 10.0,
    seed: int = 0,
    levels: tuple[Level, ...] = (Level.VALVE,),
) -> Scan:
    """A schematic chest with white noise, the same at every level."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-80.0:80.0:160j, -110.0:110.0:220j]
    slabs = []
    for level in levels:
        image = np.full(x.shape, AIR_HU)
        body = (x / 105.0) ** 2 + (y / 75.0) ** 2 < 1.0
        image[body] = 40.0
        for side in (-1.0, 1.0):
            image[((x - side * 58.0) / 28.0) ** 2 + (y / 45.0) ** 2 < 1.0] = -850.0
        hu = np.repeat(image[np.newaxis], SLAB_SLICES, axis=0)
        hu = hu + rng.normal(0.0, noise_hu, hu.shape) * body
        slabs.append(Slab(level, hu.astype(np.float32), (2.5, 1.0, 1.0)))
    return Scan(name, matched_to, is_real, tuple(slabs))


def cohort(noise_of_twins_hu: float) -> tuple[list[Scan], list[Scan]]:
    names = ("first", "second")
    real = [
        chest_scan(name, is_real=True, matched_to=name, noise_hu=10.0, seed=number)
        for number, name in enumerate(names)
    ]
    twins = [
        chest_scan(
            f"twin of {name}",
            is_real=False,
            matched_to=name,
            noise_hu=noise_of_twins_hu,
            seed=10 + number,
        )
        for number, name in enumerate(names)
    ]
    return real, twins


@pytest.fixture(scope="module")
def report_of_noisy_twins() -> RealismReport:
    return compare(*cohort(20.0), version="v1")


def test_twins_of_the_same_make_are_not_told_apart() -> None:
    report = compare(*cohort(10.0), version="-", use_pictures=False)

    assert report.auc["figures"]["all"].value == pytest.approx(0.5, abs=0.2)
    noise = report.difference("noise SD, heart")
    assert noise is not None
    assert noise.real == pytest.approx(10.0, abs=0.5)
    assert noise.distance == pytest.approx(0.0, abs=0.5)


def test_twins_with_twice_the_noise_are_told_apart_by_their_noise(
    report_of_noisy_twins: RealismReport,
) -> None:
    report = report_of_noisy_twins
    assert report.auc["figures"]["all"].value > 0.95
    # The convolutional network has 90 patches to learn from: better than chance is all one asks.
    assert report.auc["pictures"]["heart"].low > 0.5
    noise = report.difference("noise SD, heart")
    assert noise is not None
    assert noise.distance == pytest.approx(10.0, abs=1.0)
    assert noise.between_real == pytest.approx(0.0, abs=0.5)


def test_one_real_scan_is_too_few_to_leave_one_out() -> None:
    real, twins = cohort(10.0)

    with pytest.raises(ValueError, match="At least two real scans"):
        compare(real[:1], twins[:1], version="-")


def test_a_round_becomes_json_tables_and_one_row_of_the_log(
    tmp_path: Path, report_of_noisy_twins: RealismReport
) -> None:
    log = tmp_path / "log.md"
    log.write_text(f"# Log\n\n{LOG_HEADING}\n{LOG_RULE}\n\nWhat follows stays.\n")
    report = report_of_noisy_twins

    report.write_json(tmp_path / "round.json")
    append_log_row(log, report.log_row("twice the noise"))

    lines = log.read_text().splitlines()
    assert lines[4].startswith("| v1 | twice the noise | 1.00 (")
    assert lines[4].count("|") == LOG_HEADING.count("|")
    assert lines[-1] == "What follows stays."
    assert json.loads((tmp_path / "round.json").read_text())["twin_count"] == 2
    assert "| noise SD, heart | HU | " in report.markdown()
    with pytest.raises(ValueError, match="has no table"):
        append_log_row(tmp_path / "round.json", "| row |")


def test_noise_of_the_heart_is_what_its_twins_are_asked_for() -> None:
    real, _ = cohort(10.0)

    assert heart_noise_hu(real[0]) == pytest.approx(10.0, abs=0.5)


def test_only_the_scan_that_is_not_tuned_on_is_shown_without_being_measured() -> None:
    assert {scan.name for scan in marked_scans() if not scan.is_measured} == {"LIDC-IDRI-0063"}


@pytest.mark.parametrize("marked", marked_scans(), ids=lambda marked: marked.name)
def test_levels_of_a_chest_ascend_with_the_slices(marked: object) -> None:
    (scan,) = (scan for scan in marked_scans() if scan is marked or scan == marked)
    chest = [level for level in Level if not level.crosses_abdomen and level in scan.slice_of_level]

    slices = [scan.slice_of_level[level] for level in chest]

    assert slices == sorted(slices, reverse=True)


def test_the_arch_is_84_mm_above_the_valve_of_an_adult_of_scale_1() -> None:
    patient = sample_patient(1, body_scale=1.1, heart_scale=1.2, heart_shift_mm=(0.0, 0.0, 5.0))

    assert height_mm(Level.ARCH, patient) == pytest.approx(84.0 * 1.1)
    assert height_mm(Level.MIDDLE, patient) == pytest.approx((5.0 - 18.0 * 1.2) * 1.1)
    assert height_mm(Level.DOME, patient) == pytest.approx((patient.dome_mm - 8.0) * 1.1)


def test_sheets_show_the_real_scan_first_and_close_ups_of_the_heart(tmp_path: Path) -> None:
    levels = (Level.VALVE, Level.ARCH)
    real = chest_scan("first", is_real=True, matched_to="first", levels=levels)
    twin = chest_scan("twin", is_real=False, matched_to="first", levels=levels)

    written = write_sheets(tmp_path, real, [twin, twin])

    assert [path.name for path in written] == [
        "first-soft-1.png",
        "first-lung-1.png",
        "first-close-1.png",
    ]
    # Two levels of 300 mm at 0.9 mm, three scans of 400 mm; one level crosses the heart.
    with Image.open(written[0]) as sheet, Image.open(written[2]) as close_ups:
        assert sheet.size == (3 * 444, 2 * 333)
        assert close_ups.size == (3 * 429, 357)


def test_without_real_scans_the_command_says_where_to_name_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CACSCORE_REAL_DATA", raising=False)

    with pytest.raises(ValueError, match="Set CACSCORE_REAL_DATA"):
        realism()


def test_a_scan_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LIDC-IDRI-0002 is not at"):
        read_real_scan(tmp_path, marked_scans()[0])


@pytest.mark.real_data
def test_slices_of_a_real_scan_are_those_around_its_marks(real_data: Path) -> None:
    scan = read_real_scan(real_data, marked_scans()[0])

    assert [slab.level for slab in scan.slabs] == ["apex", "middle", "valve", "root", "trunk"]
    assert all(slab.hu.shape == (3, 512, 512) for slab in scan.slabs)
    assert scan.slabs[0].spacing_mm == pytest.approx((1.25, 0.681641, 0.681641))
    assert heart_noise_hu(scan) == pytest.approx(12.5, abs=1.0)
