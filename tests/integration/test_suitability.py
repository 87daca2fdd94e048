"""Contrast agent and coverage as the bundled network sees them, on real and simulated scans."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from calcium_scoring.dicom.read_series import CtSeries, read_ct_files, read_ct_series
from calcium_scoring.errors import ContrastEnhanced, HeartNotCovered
from calcium_scoring.model_input.heart_region import HeartRegion, find_heart
from calcium_scoring.phantom.patient import simulate_patient
from calcium_scoring.phantom.settings import ScanSettings
from calcium_scoring.suitability.blood_pool import (
    LARGEST_PLAIN_BLOOD_HU,
    blood_pool_hu,
    check_blood_pool,
)
from calcium_scoring.suitability.check_scan import check_scan
from calcium_scoring.suitability.coverage import check_coverage, field_of_view_distance_mm
from calcium_scoring.suitability.image_noise import heart_noise_sd_hu
from calcium_scoring.suitability.metal import metal_warnings
from calcium_scoring.upload.archive import list_upload
from calcium_scoring.volume.ct_volume import CtVolume
from service.adapters.onnx.segmenter import OnnxSegmenter
from tests.series_builders import without_contrast_in_the_header

COARSE_SCAN = ScanSettings(
    matrix_size=128,
    pixel_spacing_mm=2.8,
    spacing_between_slices_mm=5.0,
    slice_thickness_mm=5.0,
    z_extent_mm=160.0,
    noise_sd_hu=15.0,
    psf_sigma_mm=1.2,
)

WHOLE_HEARTS = {
    # name: noise (HU) as measured in the heart
    "lidc-idri/LIDC-IDRI-0002_i70-i150.zip": 12.1,
    "lidc-idri/LIDC-IDRI-0063_full.zip": 11.2,
    "tcga-thca/TCGA-DE-A4MA_i140-i239.zip": 17.1,
    "lung-pet-ct-dx/Lung_Dx-A0001_5mm_kernelB_full.zip": 6.5,
    "molloilab-cac-stanford-data/canon_Large_rep1.zip": 20.1,
}
"""Four patients without contrast agent, and a phantom of plastic."""


@pytest.fixture(scope="module")
def segmenter(repository: Path) -> OnnxSegmenter:
    return OnnxSegmenter(
        repository / "service" / "adapters" / "onnx" / "calcium_segmenter.onnx", threads=1
    )


def heart_of(volume: CtVolume, segmenter: OnnxSegmenter) -> HeartRegion | None:
    heart = segmenter._calcium_model.heart
    assert heart is not None
    return find_heart(volume, heart.spec, heart.predict)


@pytest.mark.real_data
@pytest.mark.parametrize("name", WHOLE_HEARTS)
def test_a_real_scan_without_contrast_agent_is_not_refused(
    real_data: Path, tmp_path: Path, segmenter: OnnxSegmenter, name: str
) -> None:
    volume = read_ct_series(real_data / name, tmp_path).volume
    region = heart_of(volume, segmenter)
    assert region is not None

    check_coverage(region)
    check_blood_pool(region)

    found_hu = blood_pool_hu(region)
    assert found_hu is not None
    assert found_hu < LARGEST_PLAIN_BLOOD_HU - 10.0
    assert heart_noise_sd_hu(volume, region) == pytest.approx(WHOLE_HEARTS[name], abs=0.5)
    assert field_of_view_distance_mm(region) > 10.0
    # The manifest knows of metal near the liver of one patient.
    assert bool(metal_warnings(volume, region)) is ("0063" in name)


@pytest.mark.real_data
def test_a_real_scan_with_contrast_agent_is_refused_though_its_header_is_silent(
    real_data: Path, tmp_path: Path, segmenter: OnnxSegmenter
) -> None:
    folder = without_contrast_in_the_header(
        real_data / "lidc-idri/LIDC-IDRI-0003_contrast_gap_i28-i78.zip", tmp_path
    )
    series = read_below_the_gap(folder)

    region = heart_of(series.volume, segmenter)
    assert region is not None
    with pytest.raises(ContrastEnhanced) as refusal:
        check_blood_pool(region)

    assert refusal.value.evidence["blood_pool_hu"] == pytest.approx(333.5, abs=2.0)


def read_below_the_gap(folder: Path) -> CtSeries:
    """Read the 42 slices below the gap of 30 mm."""
    heights = {
        file.path: float(dcmread(file.path, stop_before_pixels=True).ImagePositionPatient[2])
        for file in list_upload(folder)
    }
    lowest = min(heights.values())
    return read_ct_files(
        [file for file in list_upload(folder) if heights[file.path] < lowest + 42 * 2.5 - 1.0]
    )


@pytest.mark.real_data
def test_forty_millimetres_of_a_chest_are_no_heart(
    real_data: Path, tmp_path: Path, segmenter: OnnxSegmenter
) -> None:
    folder = without_contrast_in_the_header(
        real_data / "totalsegmentator/example_ct_dicom_j2k_no_sopclass.zip", tmp_path
    )
    volume = read_ct_series(folder, tmp_path).volume

    with pytest.raises(HeartNotCovered):
        check_scan(volume, segmenter.segment(volume))


@pytest.mark.slow
@pytest.mark.parametrize("blood_hu", [30.0, 60.0, 110.0, 250.0])
def test_simulated_blood_is_told_from_contrast_agent(
    segmenter: OnnxSegmenter, blood_hu: float
) -> None:
    patient = simulate_patient(20, scan_settings=COARSE_SCAN, blood_hu=blood_hu, muscle_hu=60.0)
    region = heart_of(patient.volume, segmenter)
    assert region is not None

    assert blood_pool_hu(region) == pytest.approx(blood_hu, abs=25.0)
    if blood_hu < LARGEST_PLAIN_BLOOD_HU:
        check_blood_pool(region)
    else:
        with pytest.raises(ContrastEnhanced):
            check_blood_pool(region)
