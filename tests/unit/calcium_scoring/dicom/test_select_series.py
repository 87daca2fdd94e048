"""Which series of an upload is scored, and what is said of everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.select_series import (
    SeriesSelection,
    is_contrast_enhanced,
    is_ecg_gated,
    is_sharp_kernel,
    select_series,
)
from calcium_scoring.errors import NoCtSeries, NoDicomFound, TooFewSlices
from calcium_scoring.upload.archive import list_upload
from tests.series_builders import CALCIUM_SCAN, noise_volume, remove, set_attributes, write_series

CHEST = replace(CALCIUM_SCAN, is_ecg_gated=None, series_description="Chest")


def select(folder: Path) -> SeriesSelection:
    return select_series(list_upload(folder))


def chosen_folder(selection: SeriesSelection) -> str:
    (folder,) = {image.path.parent.name for image in selection.images}
    return folder


def two_series(
    folder: Path,
    change_first: Callable[[list[Path]], object] = lambda _: None,
    change_second: Callable[[list[Path]], object] = lambda _: None,
) -> SeriesSelection:
    for name, change, seed in (("first", change_first, 1), ("second", change_second, 2)):
        paths = write_series(folder / name, noise_volume(acquisition=CHEST), seed=seed)
        set_attributes(paths, PatientID="one", PatientName="One")
        change(paths)
    return select(folder)


RULES: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "axial": ({}, {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "is not axial"),
    "not rotated": (
        {},
        {"ImageOrientationPatient": [0, 1, 0, -1, 0, 0], "SeriesDescription": "CaScore"},
        "is rotated in the plane of its slices",
    ),
    "upright gantry": ({}, {"GantryDetectorTilt": "20"}, "was acquired with a tilted gantry"),
    "no contrast agent": (
        {},
        {"ContrastBolusAgent": "APPLIED", "SeriesDescription": "CaScore"},
        "is contrast-enhanced",
    ),
    "no angiography": (
        {},
        {"SeriesDescription": "CTA cardiac"},
        "is named as a series with contrast agent",
    ),
    "not derived afterwards": (
        {},
        {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]},
        "was derived from other images after the examination",
    ),
    "named a calcium scan": (
        {"SeriesDescription": "Ca Sc 3.0", "KVP": "100"},
        {},
        "is not named a calcium scan, as the chosen one is",
    ),
    "named by its protocol": (
        {"ProtocolName": "Calcium Score (Volume)"},
        {},
        "is not named a calcium scan, as the chosen one is",
    ),
    "gated": (
        {"ScanOptions": "ECG_GATED"},
        {"PixelSpacing": [1.0, 6.0]},
        "is neither gated nor limited to the heart, as the chosen one is",
    ),
    "120 kVp": ({}, {"KVP": "100"}, "was not acquired at 120 kVp, as the chosen one was"),
    "soft kernel": ({}, {"ConvolutionKernel": "BONE"}, "has a sharper kernel than the chosen one"),
    "original": (
        {},
        {"ImageType": ["DERIVED", "PRIMARY", "MPR"]},
        "is derived from other images, the chosen one is original",
    ),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_each_rule_tells_two_series_apart(tmp_path: Path, name: str, is_reversed: bool) -> None:
    better, worse, reason = RULES[name]
    changes = [
        lambda paths: set_attributes(paths, **better),
        lambda paths: set_attributes(paths, **worse),
    ]
    if is_reversed:
        changes.reverse()

    selection = two_series(tmp_path, *changes)

    assert chosen_folder(selection) == ("second" if is_reversed else "first")
    (other,) = selection.other_series
    assert other.reason == reason
    assert other.slice_count == 9


@pytest.mark.parametrize(
    "name",
    [
        "Thorax KM",
        "Thorax +KM 1.0",
        "Thorax_KM_1.0",
        "Chest w contrast",
        "Chest w/ contrast",
        "Chest with contrast",
        "Chest with IV contrast",
        "Chest post contrast",
        "Chest mit Kontrast",
        "Chest C+",
        "venous phase",
        "Angio Heart",
        "CTA_0.6",
        "CaSc post contrast",
    ],
)
def test_a_series_named_after_contrast_agent_goes_behind_a_plain_one_and_is_not_refused(
    tmp_path: Path, name: str
) -> None:
    selection = two_series(
        tmp_path, change_second=lambda paths: set_attributes(paths, SeriesDescription=name)
    )

    assert chosen_folder(selection) == "first"
    assert selection.other_series[0].reason == "is named as a series with contrast agent"
    alone = read_ct_series(tmp_path / "second", tmp_path)
    assert alone.volume.acquisition.is_contrast_enhanced is None


@pytest.mark.parametrize(
    "name",
    [
        "Angio Heart CaSc",
        "Angio_Heart_CaSc_3.0",
        "CCTA Calcium Score",
        "CaSc without contrast",
        "CaSc w/o contrast",
        "CaSc non-contrast",
        "CaSc ohne KM",
        "CaSc o. KM",
        "CaSc KM-frei",
        "CaSc pre contrast",
        "CaSc unenhanced",
    ],
)
def test_a_calcium_scan_is_chosen_though_its_name_speaks_of_angiography_or_of_no_contrast(
    tmp_path: Path, name: str
) -> None:
    selection = two_series(
        tmp_path, change_second=lambda paths: set_attributes(paths, SeriesDescription=name)
    )

    assert chosen_folder(selection) == "second"
    assert selection.other_series[0].reason == "is not named a calcium scan, as the chosen one is"


def test_an_angiography_under_the_protocol_of_a_calcium_scan_is_still_one(tmp_path: Path) -> None:
    selection = two_series(
        tmp_path,
        change_second=lambda paths: set_attributes(
            paths, SeriesDescription="CTA 0.6", ProtocolName="CaScore and CTA"
        ),
    )

    assert chosen_folder(selection) == "first"


def test_a_series_with_enough_slices_goes_before_a_short_one(tmp_path: Path) -> None:
    selection = two_series(tmp_path, lambda paths: remove(paths[5:]))

    assert chosen_folder(selection) == "second"
    assert selection.other_series[0].reason == "has fewer than 8 slices"


def test_the_spacing_nearest_to_that_of_calcium_scoring_is_chosen(tmp_path: Path) -> None:
    for spacing_mm, seed in ((0.5, 1), (2.5, 2), (5.0, 3)):
        volume = noise_volume(acquisition=CHEST, spacing_mm=(spacing_mm, 0.5, 0.5))
        write_series(tmp_path / f"{spacing_mm}", volume, seed=seed)

    selection = select(tmp_path)

    assert chosen_folder(selection) == "2.5"
    assert {other.reason for other in selection.other_series} == {
        "has a slice spacing further from 2.5 to 3 mm than the chosen one"
    }


def test_more_slices_are_better_and_at_last_the_uid_decides(tmp_path: Path) -> None:
    for count, seed in ((9, 1), (10, 2), (10, 3)):
        volume = noise_volume(count, acquisition=CHEST)
        write_series(tmp_path / f"{seed}", volume, seed=seed)

    selection = select(tmp_path)

    assert {other.reason for other in selection.other_series} == {
        "has fewer slices than the chosen one",
        "ranks like the chosen one, which was taken by the order of UIDs",
    }
    assert chosen_folder(select(tmp_path)) == chosen_folder(selection)


def _as_sop_class(uid: str) -> Callable[[list[Path]], None]:
    return lambda paths: set_attributes(paths, SOPClassUID=uid)


LEFT_OUT: dict[str, tuple[Callable[[list[Path]], object], str]] = {
    "localizer": (
        lambda paths: set_attributes(paths, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "is a localizer",
    ),
    "secondary capture": (_as_sop_class(SecondaryCaptureImageStorage), "is a secondary capture"),
    "screen save": (
        lambda paths: set_attributes(paths, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]),
        "is a secondary capture",
    ),
    "magnetic resonance": (_as_sop_class(MRImageStorage), "is no CT image"),
    "another modality": (lambda paths: set_attributes(paths, Modality="PT"), "is no CT image"),
    "maximum intensity projection": (
        lambda paths: set_attributes(paths, ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"]),
        "is a projection, not a slice",
    ),
    "projection in the words of Siemens": (
        lambda paths: set_attributes(paths, ImageType=["DERIVED", "PRIMARY", "CT_SOM5 MIP"]),
        "is a projection, not a slice",
    ),
    "projection by its name": (
        lambda paths: set_attributes(paths, SeriesDescription="axial MIP 10 mm"),
        "is a projection, not a slice",
    ),
    "Enhanced": (
        _as_sop_class(EnhancedCTImageStorage),
        "is an Enhanced CT object of 0 frames that describes 0 of them",
    ),
    "text": (lambda paths: [path.write_text("hello") for path in paths], "is not DICOM"),
    "damaged": (
        lambda paths: [path.write_bytes(path.read_bytes()[:150]) for path in paths],
        "is no CT image",
    ),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_files_that_hold_no_slice_are_left_out_with_a_word(tmp_path: Path, name: str) -> None:
    change, reason = LEFT_OUT[name]

    selection = two_series(tmp_path, change_second=change)

    assert chosen_folder(selection) == "first"
    assert selection.other_series == ()
    assert {file.name.split("/")[0] for file in selection.left_out_files} == {"second"}
    assert {file.reason for file in selection.left_out_files} == {reason}


def test_a_localizer_within_the_series_does_not_disturb_it(tmp_path: Path) -> None:
    paths = write_series(tmp_path, noise_volume(10))
    set_attributes(paths[:1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])

    series = read_ct_series(tmp_path, tmp_path)

    assert series.volume.geometry.shape[0] == 9
    assert [file.reason for file in series.left_out_files] == ["is a localizer"]


def test_an_upload_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")

    with pytest.raises(NoDicomFound, match="None of the 1 files"):
        select(tmp_path)


def test_an_upload_without_ct_is_refused(tmp_path: Path) -> None:
    set_attributes(write_series(tmp_path), SOPClassUID=MRImageStorage, Modality="MR")

    with pytest.raises(NoCtSeries):
        select(tmp_path)


def test_left_out_files_say_their_place_and_kind_apart_from_their_name(tmp_path: Path) -> None:
    paths = write_series(tmp_path, noise_volume(10))
    set_attributes(paths[:1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    paths[0].rename(tmp_path / "zz_Doe_John.dcm")

    (left_out,) = read_ct_series(tmp_path, tmp_path).left_out_files

    # Behind the nine others by name.
    assert (left_out.number, left_out.frame_number) == (10, None)
    assert left_out.kind == "CT Image Storage"
    assert left_out.name == "zz_Doe_John.dcm"


def test_a_series_that_cannot_be_measured_is_not_passed_over(tmp_path: Path) -> None:
    """The calcium scan has a gap; scoring the lung series instead would answer another question."""

    def name_and_break(paths: list[Path]) -> None:
        set_attributes(paths, SeriesDescription="CaScore")
        remove(paths[4:5])

    selection = two_series(tmp_path, name_and_break)

    assert chosen_folder(selection) == "first"


def test_slices_without_series_uid_are_kept_apart_by_what_they_say(tmp_path: Path) -> None:
    selection = two_series(
        tmp_path,
        lambda paths: set_attributes(paths, SeriesInstanceUID=None, SeriesNumber=2),
        lambda paths: set_attributes(paths, SeriesInstanceUID=None, ConvolutionKernel="LUNG"),
    )

    assert chosen_folder(selection) == "first"
    assert len(selection.images) == 9
    assert selection.other_series[0].series_instance_uid is None


def test_an_upload_of_single_slices_has_too_few(tmp_path: Path) -> None:
    for seed in range(3):
        for path in write_series(tmp_path / str(seed), seed=seed)[1:]:
            path.unlink()

    with pytest.raises(TooFewSlices):
        read_ct_series(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("", None),
        ("None", False),
        ("NO CONTRAST", False),
        ("w/o contrast", False),
        ("NON-CONTRAST", False),
        ("without iv contrast", False),
        ("NON IONIC", True),
        ("Omnipaque 350", True),
        ("APPLIED", True),
        ("ORAL/RECTAL & IV CONTRAST", True),
        ("nonionic contrast", True),
    ],
)
def test_what_the_header_says_of_contrast_agent(agent: str, expected: bool | None) -> None:
    header = Dataset()
    header.ContrastBolusAgent = agent

    assert is_contrast_enhanced(header) is expected


def test_an_empty_sequence_of_agents_is_no_agent() -> None:
    header = Dataset()
    header.ContrastBolusAgentSequence = []
    assert is_contrast_enhanced(header) is None
    header.ContrastBolusAgentSequence = [Dataset()]
    assert is_contrast_enhanced(header) is True


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"CardiacSynchronizationTechnique": "PROSPECTIVE"}, True),
        ({"CardiacSynchronizationTechnique": "NONE"}, False),
        ({"ScanOptions": ["HELICAL", "ECG_GATED"]}, True),
        ({"SeriesDescription": "Chest non gated"}, False),
        ({"NominalPercentageOfCardiacPhase": 75.0}, True),
        ({"TriggerTime": "0"}, None),
        ({"TriggerTime": "640"}, True),
    ],
)
def test_what_the_header_says_of_gating(values: dict[str, object], expected: bool | None) -> None:
    header = Dataset()
    for keyword, value in values.items():
        setattr(header, keyword, value)

    assert is_ecg_gated(header) is expected


@pytest.mark.parametrize(
    "kernel", [["B70f"], ["Br64d", "3"], ["LUNG"], ["BONEPLUS"], ["FC52"], ["YA"], ["FC83"]]
)
def test_kernels_for_lung_and_bone_are_sharp(kernel: list[str]) -> None:
    assert is_sharp_kernel(kernel)


@pytest.mark.parametrize(
    "kernel", [[], ["B30f"], ["Br38f", "3"], ["Qr36d"], ["STANDARD"], ["SOFT"], ["FC12"], ["B"]]
)
def test_kernels_for_soft_tissue_and_unknown_ones_are_not(kernel: list[str]) -> None:
    assert not is_sharp_kernel(kernel)
