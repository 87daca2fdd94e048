"""Every real series gives a volume or a refusal by name; what is known of each is checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from calcium_scoring.dicom.enhanced_ct import frames_of
from calcium_scoring.dicom.headers import numbers, read_image_file
from calcium_scoring.dicom.pixels import rescale
from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.dicom.uids import is_valid_uid
from calcium_scoring.errors import CacscoreError, MissingRescale
from tests.series_builders import without_contrast_in_the_header

pytestmark = pytest.mark.real_data


@dataclass(frozen=True)
class Volume:
    """What the manifest of the data says of a series that can be scored."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    warning_codes: frozenset[str]
    is_ecg_gated: bool | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a series cannot be scored."""

    code: str


EXPECTED: dict[str, Volume | Refusal] = {
    "molloilab-cac-stanford-data/canon_Large_rep1.zip": Volume(
        (47, 512, 512),
        (3.0, 0.488, 0.488),
        frozenset({"blank_slices", "derived_images"}),
        is_ecg_gated=True,
    ),
    "lidc-idri/LIDC-IDRI-0002_i70-i150.zip": Volume(
        (81, 512, 512),
        (1.25, 0.681641, 0.681641),
        frozenset({"missing_description", "not_ecg_gated"}),
    ),
    "lidc-idri/LIDC-IDRI-0063_full.zip": Volume(
        (133, 512, 512),
        (2.5, 0.78125, 0.78125),
        frozenset({"missing_description", "not_ecg_gated"}),
    ),
    "lidc-idri/LIDC-IDRI-0003_contrast_gap_i28-i78.zip": Refusal("contrast_enhanced"),
    "tcga-thca/TCGA-DE-A4MA_i140-i239.zip": Volume(
        (100, 512, 512),
        (2.5, 0.9765625, 0.9765625),
        frozenset({"thick_slices", "overlapping_slices", "not_ecg_gated"}),
    ),
    "lung-pet-ct-dx/Lung_Dx-A0001_5mm_kernelB_full.zip": Volume(
        (64, 512, 512),
        (5.0, 0.841796875, 0.841796875),
        frozenset({"thick_slices", "not_ecg_gated"}),
    ),
    "covid-19-ny-sbu/20_single_axial_slices.zip": Refusal("too_few_slices"),
    "dcm_qa_ct/GE_tilt18.5_irregular_spacing.zip": Refusal("gantry_tilt"),
    "dcm_qa_ct/Philips_tilt-18.5_first24.zip": Refusal("gantry_tilt"),
    "dicom-numpy/dupe-positions.zip": Refusal("contrast_enhanced"),
    "totalsegmentator/example_ct_dicom_j2k_no_sopclass.zip": Refusal("contrast_enhanced"),
    "pydicom-data/eCT_Supplemental.dcm": Refusal("contrast_enhanced"),
    "pydicom-data/693_J2KR.dcm": Refusal("too_few_slices"),
}

IDENTIFYING = ("PatientID", "PatientName", "PatientBirthDate", "SeriesInstanceUID")


def read(upload: Path, workdir: Path) -> CtSeries:
    return read_ct_series(upload, workdir / "unpacked")


def test_every_series_at_hand_is_expected(real_data: Path) -> None:
    found = {
        path.relative_to(real_data).as_posix()
        for suffix in ("zip", "dcm")
        for path in real_data.glob(f"*/*.{suffix}")
    }

    assert found == EXPECTED.keys()


@pytest.mark.parametrize(
    "name", [name for name, expected in EXPECTED.items() if isinstance(expected, Volume)]
)
def test_a_series_that_can_be_scored_is_read(real_data: Path, tmp_path: Path, name: str) -> None:
    expected = EXPECTED[name]
    assert isinstance(expected, Volume)

    series = read(real_data / name, tmp_path)

    volume = series.volume
    assert volume.geometry.shape == expected.shape
    assert volume.geometry.spacing_mm == pytest.approx(expected.spacing_mm, abs=1e-6)
    assert {warning.code for warning in series.warnings} == expected.warning_codes
    assert volume.acquisition.is_ecg_gated is expected.is_ecg_gated
    assert volume.acquisition.kvp == 120.0
    assert volume.hu.min() == -1024.0
    assert volume.hu.max() > 1000.0
    # Air in the lungs, or around the phantom, and soft tissue.
    middle = volume.hu[len(volume.hu) // 2]
    assert np.percentile(middle, 5) < -800
    assert ((middle > 0) & (middle < 100)).mean() > 0.05
    assert series.other_series == ()
    assert series.left_out_files == ()
    assert len(series.instances) == series.file_count == expected.shape[0]


@pytest.mark.parametrize(
    "name", [name for name, expected in EXPECTED.items() if isinstance(expected, Refusal)]
)
def test_a_series_that_cannot_be_scored_is_refused_by_name(
    real_data: Path, tmp_path: Path, name: str
) -> None:
    expected = EXPECTED[name]
    assert isinstance(expected, Refusal)

    with pytest.raises(CacscoreError) as refusal:
        read(real_data / name, tmp_path)

    assert refusal.value.code == expected.code


def test_values_equal_those_of_pydicom_slice_by_slice(real_data: Path, tmp_path: Path) -> None:
    series = read(real_data / "lidc-idri/LIDC-IDRI-0002_i70-i150.zip", tmp_path)

    files = {
        instance.SOPInstanceUID: instance
        for instance in map(dcmread, sorted((tmp_path / "unpacked").iterdir()))
    }

    for hu, header in zip(series.volume.hu, series.instances, strict=True):
        instance = files[header.SOPInstanceUID]
        expected = instance.pixel_array * float(instance.RescaleSlope) + float(
            instance.RescaleIntercept
        )
        assert np.array_equal(hu, np.maximum(expected, -1024).astype(np.float32))


def test_heights_ascend_whatever_the_order_in_the_archive(real_data: Path, tmp_path: Path) -> None:
    series = read(real_data / "lidc-idri/LIDC-IDRI-0063_full.zip", tmp_path)

    heights = [float(one.ImagePositionPatient[2]) for one in series.instances]

    assert heights == sorted(heights)
    assert series.volume.geometry.position_lps_mm((79, 209, 302))[2] == pytest.approx(heights[79])
    assert series.volume.hu[79, 209, 302] > 130  # the proximal LAD of the manifest


def test_jpeg_2000_slices_without_uids_are_read(real_data: Path, tmp_path: Path) -> None:
    """The headers of this series lack SOP class, SOP instance and series UIDs."""
    folder = without_contrast_in_the_header(
        real_data / "totalsegmentator/example_ct_dicom_j2k_no_sopclass.zip", tmp_path
    )

    series = read_ct_series(folder, tmp_path)

    assert series.volume.geometry.shape == (20, 512, 512)
    # SliceThickness says 3 mm; the positions say 2 mm.
    assert series.volume.geometry.spacing_between_slices_mm == pytest.approx(2.0)
    codes = {warning.code for warning in series.warnings}
    assert {"missing_uids", "overlapping_slices"} <= codes
    assert series.volume.identity is not None
    assert all(map(is_valid_uid, series.volume.identity.sop_instance_uids))
    assert len(set(series.volume.identity.sop_instance_uids)) == 20


def test_frames_of_an_enhanced_object_have_their_places_and_are_no_hounsfield_units(
    real_data: Path,
) -> None:
    """A map of blood flow in ml/100ml/s, whose Rescale Type says "unspecified"."""
    path = real_data / "pydicom-data/eCT_Supplemental.dcm"

    first, second = frames_of(read_image_file(path, path.name))

    places = [numbers(one.header, "ImagePositionPatient", 3) for one in (first, second)]
    assert places == [(99.5, -301.5, -159.0), (99.5, -301.5, -149.0)]
    assert numbers(first.header, "PixelSpacing", 2) == (0.388672, 0.388672)
    with pytest.raises(MissingRescale):
        rescale(first.header)


def test_missing_and_repeated_slices_are_refused(real_data: Path, tmp_path: Path) -> None:
    folder = without_contrast_in_the_header(real_data / "dicom-numpy/dupe-positions.zip", tmp_path)

    with pytest.raises(CacscoreError) as refusal:
        read_ct_series(folder, tmp_path)

    assert refusal.value.code == "irregular_geometry"


def test_no_refusal_and_no_warning_names_a_patient(real_data: Path, tmp_path: Path) -> None:
    for number, name in enumerate(EXPECTED):
        workdir = tmp_path / str(number)
        try:
            said = repr(read(real_data / name, workdir).warnings)
        except CacscoreError as refusal:
            said = refusal.message + repr(refusal.evidence)
        unpacked = workdir / "unpacked"
        first = next(iter(sorted(unpacked.iterdir()))) if unpacked.exists() else real_data / name
        header = dcmread(first, stop_before_pixels=True)
        for keyword in IDENTIFYING:
            value = str(header.get(keyword) or "")
            assert not value or value not in said
