"""A series on disk becomes a volume, or a refusal that says why not."""

from __future__ import annotations

import math
import re
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.dicom.uids import is_valid_uid
from calcium_scoring.dicom.write_series import RESCALE, write_ct_series, zip_files
from calcium_scoring.errors import (
    BurnedInAnnotation,
    ContrastEnhanced,
    DuplicatePositions,
    GantryTilt,
    HeartNotCovered,
    InconsistentSeries,
    InvalidGeometry,
    IrregularGeometry,
    MissingRescale,
    NoCtSeries,
    NotAxial,
    RotatedInPlane,
    SeriesRejected,
    SeriesTooLarge,
    TooFewSlices,
    UnreadablePixels,
    UnsupportedImageType,
)
from calcium_scoring.model_input.preprocessing import prepare_slices
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.rendering import render_key_slice
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import AIR_HU, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap
from tests.series_builders import (
    CALCIUM_SCAN,
    edit,
    move,
    noise_volume,
    remove,
    set_attributes,
    write_series,
)


def read(folder: Path) -> CtSeries:
    return read_ct_series(folder, folder)


def warning_codes(series: CtSeries) -> list[str]:
    return [warning.code for warning in series.warnings]


def test_a_calcium_scan_is_read_as_it_was_written_without_any_warning(tmp_path: Path) -> None:
    volume = noise_volume()
    paths = write_series(tmp_path / "series", volume)

    series = read_ct_series(zip_files(paths, tmp_path / "a.zip"), tmp_path / "work")

    assert np.array_equal(series.volume.hu, volume.hu)
    assert series.volume.geometry.is_same_grid(volume.geometry)
    assert series.volume.acquisition == CALCIUM_SCAN
    assert series.warnings == ()
    assert series.other_series == ()
    assert series.left_out_files == ()
    assert series.file_count == 9


def test_instances_are_headers_in_slice_order(tmp_path: Path) -> None:
    write_series(tmp_path)

    series = read(tmp_path)

    assert [float(one.ImagePositionPatient[2]) for one in series.instances] == [
        -1234.5 + 3.0 * index for index in range(9)
    ]
    assert series.volume.identity is not None
    assert series.volume.identity.sop_instance_uids == tuple(
        one.SOPInstanceUID for one in series.instances
    )
    assert not any("PixelData" in one for one in series.instances)


def test_the_order_and_names_of_the_files_do_not_matter(tmp_path: Path) -> None:
    volume = noise_volume()
    paths = write_series(tmp_path / "series", volume)
    for path, number in zip(paths, (5, 2, 8, 0, 7, 1, 6, 3, 4), strict=True):
        path.rename(path.with_name(f"x{number}"))

    assert np.array_equal(read(tmp_path / "series").volume.hu, volume.hu)


def test_slice_zero_is_the_lowest_even_if_slices_were_numbered_from_the_head(
    tmp_path: Path,
) -> None:
    volume = noise_volume()
    paths = write_series(tmp_path, volume)
    edit(paths, lambda one, index: setattr(one, "InstanceNumber", 9 - index))

    series = read(tmp_path)

    assert np.array_equal(series.volume.hu, volume.hu)


@pytest.mark.parametrize(
    ("orientation", "row_sign", "column_sign"),
    [([1, 0, 0, 0, -1, 0], -1, 1), ([-1, 0, 0, 0, 1, 0], 1, -1), ([-1, 0, 0, 0, -1, 0], -1, -1)],
    ids=["upside down", "mirrored", "turned by 180 degrees"],
)
def test_negative_direction_cosines_only_turn_the_axes_of_the_grid(
    tmp_path: Path, orientation: list[int], row_sign: int, column_sign: int
) -> None:
    volume = noise_volume()
    set_attributes(write_series(tmp_path, volume), ImageOrientationPatient=orientation)

    series = read(tmp_path)

    assert np.array_equal(series.volume.hu, volume.hu)
    affine = series.volume.geometry.affine
    assert affine[2, 0] == pytest.approx(3.0)
    assert affine[1, 1] == pytest.approx(0.5 * row_sign)
    assert affine[0, 2] == pytest.approx(0.5 * column_sign)
    assert series.volume.geometry.position_lps_mm((0, 0, 0)) == pytest.approx(
        (-20.0, -150.0, -1234.5)
    )


def test_slope_and_intercept_are_those_of_each_slice(tmp_path: Path) -> None:
    volume = noise_volume()
    even = CtVolume(volume.geometry, (np.round(volume.hu / 4) * 4).astype(np.float32), CALCIUM_SCAN)
    write_ct_series(even, tmp_path, seed=1, rescales=[RESCALE, (2.0, -1000.0), (0.5, 0.0)])

    assert np.array_equal(read(tmp_path).volume.hu, even.hu)


def test_fractional_hu_are_kept(tmp_path: Path) -> None:
    """129.75 HU is below the threshold; truncated upwards it would be calcium."""
    volume = noise_volume()
    hu = np.full(volume.hu.shape, 129.75, dtype=np.float32)
    write_ct_series(
        CtVolume(volume.geometry, hu, CALCIUM_SCAN), tmp_path, seed=1, rescales=[(0.25, -1024.0)]
    )

    assert np.array_equal(read(tmp_path).volume.hu, hu)


def test_whole_hu_take_16_bits_and_one_fractional_slice_makes_all_floating_point(
    tmp_path: Path,
) -> None:
    volume = noise_volume()
    write_ct_series(volume, tmp_path / "whole", seed=1)
    rescales = [(1.0, -1024.0)] * 8 + [(0.5, -1024.0)]
    write_ct_series(volume, tmp_path / "mixed", seed=1, rescales=rescales)

    whole, mixed = read(tmp_path / "whole").volume.hu, read(tmp_path / "mixed").volume.hu

    assert (whole.dtype.name, mixed.dtype.name) == ("int16", "float32")
    assert np.array_equal(whole, volume.hu)
    assert np.array_equal(mixed, volume.hu)


def test_padding_outside_the_field_of_view_is_air(tmp_path: Path) -> None:
    paths = write_series(tmp_path)

    def pad(instance: Dataset, _: int) -> None:
        stored = np.frombuffer(instance.PixelData, dtype="<i2").reshape(64, 64).copy()
        stored[:8] = -2000  # what GE writes outside the circle
        stored[8:16] = 3100  # a padding value that would be dense calcium
        instance.PixelData = stored.tobytes()
        instance.add_new("PixelPaddingValue", "SS", 3100)

    edit(paths, pad)

    hu = read(tmp_path).volume.hu

    assert (hu[:, :16] == AIR_HU).all()
    assert hu[:, 16:].max() > 1000


@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize("is_implicit", [True, False], ids=["implicit", "explicit"])
def test_a_negative_padding_value_is_known_in_either_representation(
    tmp_path: Path, vr: str, is_implicit: bool
) -> None:
    """GE writes 63536 (US) into signed images and means -2000."""
    syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    paths = write_ct_series(noise_volume(), tmp_path, seed=1, transfer_syntax_uid=syntax)

    def pad(instance: Dataset, _: int) -> None:
        stored = np.frombuffer(instance.PixelData, dtype="<i2").reshape(64, 64).copy()
        stored[0, 0] = -2000
        instance.PixelData = stored.tobytes()
        instance.RescaleIntercept = 3000  # so that only the padding value makes it air
        instance.add_new("PixelPaddingValue", vr, 63536 if vr == "US" else -2000)

    edit(paths, pad)

    assert (read(tmp_path).volume.hu[:, 0, 0] == AIR_HU).all()


def test_a_range_of_padding_values_is_air(tmp_path: Path) -> None:
    paths = write_series(tmp_path)

    def pad(instance: Dataset, _: int) -> None:
        stored = np.frombuffer(instance.PixelData, dtype="<i2").reshape(64, 64).copy()
        stored[0, :4] = (2999, 3000, 3005, 3010)
        instance.PixelData = stored.tobytes()
        instance.add_new("PixelPaddingValue", "SS", 3000)
        instance.add_new("PixelPaddingRangeLimit", "SS", 3010)

    edit(paths, pad)

    assert read(tmp_path).volume.hu[0, 0, :4].tolist() == [1975.0, AIR_HU, AIR_HU, AIR_HU]


def test_padding_that_needs_more_than_the_stored_bits_is_air_not_bone(tmp_path: Path) -> None:
    """-2000 written as 63536 into 12 unsigned bits would come out as 2096 - 1024 = 1072 HU."""
    paths = write_series(tmp_path)

    def pad(instance: Dataset, _: int) -> None:
        stored = np.frombuffer(instance.PixelData, dtype="<u2").reshape(64, 64).copy()
        stored[:4] = 63536
        instance.PixelData = stored.tobytes()
        instance.PixelRepresentation = 0
        instance.BitsStored, instance.HighBit = 12, 11
        instance.add_new("PixelPaddingValue", "US", 63536)

    edit(paths, pad)

    hu = read(tmp_path).volume.hu

    assert (hu[:, :4] == AIR_HU).all()
    assert np.array_equal(hu[:, 4:], noise_volume().hu[:, 4:])


@pytest.mark.parametrize("is_signed", [True, False])
def test_bits_above_the_stored_ones_are_not_part_of_the_value(
    tmp_path: Path, is_signed: bool
) -> None:
    """Old scanners keep overlays there; a signed value of 12 bits has its sign in bit 11."""
    volume = noise_volume()
    intercept = 0 if is_signed else -1024
    paths = write_series(tmp_path, volume)

    def spoil(instance: Dataset, index: int) -> None:
        stored = volume.hu[index].astype(np.int32) - intercept
        overlay = np.uint16(0xA000)
        instance.PixelData = ((stored & 0x0FFF).astype("<u2") | overlay).tobytes()
        instance.PixelRepresentation = int(is_signed)
        instance.BitsStored, instance.HighBit = 12, 11
        instance.RescaleIntercept = intercept

    edit(paths, spoil)

    assert np.array_equal(read(tmp_path).volume.hu, volume.hu)


@pytest.mark.parametrize(
    "transfer_syntax_uid",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless],
    ids=lambda uid: uid.name,
)
def test_every_transfer_syntax_gives_the_same_values_bit_for_bit(
    tmp_path: Path, transfer_syntax_uid: str
) -> None:
    volume = noise_volume()
    write_ct_series(volume, tmp_path, seed=1, transfer_syntax_uid=transfer_syntax_uid)

    series = read(tmp_path)

    assert np.array_equal(series.volume.hu, volume.hu)
    assert series.warnings == ()


def test_deflated_data_sets_are_read(tmp_path: Path) -> None:
    volume = noise_volume()

    def deflate(instance: Dataset, _: int) -> None:
        instance.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    edit(write_series(tmp_path, volume), deflate)

    assert np.array_equal(read(tmp_path).volume.hu, volume.hu)


def test_big_endian_is_read(tmp_path: Path) -> None:
    volume = noise_volume()
    for path in write_series(tmp_path, volume):
        written = dcmread(path)
        instance = Dataset()
        instance.update(written)
        instance.PixelData = np.frombuffer(written.PixelData, "<i2").astype(">i2").tobytes()
        instance.file_meta = written.file_meta
        instance.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        instance.save_as(path, enforce_file_format=True)

    assert np.array_equal(read(tmp_path).volume.hu, volume.hu)


@pytest.mark.parametrize("keeps_meta", [True, False], ids=["without preamble", "data set alone"])
@pytest.mark.parametrize("is_implicit", [True, False], ids=["implicit", "explicit"])
def test_files_without_preamble_are_read(
    tmp_path: Path, keeps_meta: bool, is_implicit: bool
) -> None:
    volume = noise_volume()
    syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    for path in write_ct_series(volume, tmp_path, seed=1, transfer_syntax_uid=syntax):
        content = path.read_bytes()
        meta_bytes = int.from_bytes(content[140:144], "little")
        path.write_bytes(content[132 if keeps_meta else 144 + meta_bytes :])

    series = read(tmp_path)

    assert np.array_equal(series.volume.hu, volume.hu)


def test_the_spacing_is_that_of_the_positions_not_the_thickness(tmp_path: Path) -> None:
    volume = noise_volume(spacing_mm=(1.5, 0.5, 0.5))
    paths = write_series(tmp_path, volume)
    set_attributes(paths, SliceThickness="3", SpacingBetweenSlices="3")

    series = read(tmp_path)

    assert series.volume.geometry.spacing_between_slices_mm == pytest.approx(1.5)
    assert warning_codes(series) == ["overlapping_slices"]


def test_rounded_positions_do_not_bias_the_spacing(tmp_path: Path) -> None:
    """1.25 mm slices written with one decimal: the gaps are 1.2 and 1.3 mm."""
    volume = noise_volume(
        17, acquisition=replace(CALCIUM_SCAN, slice_thickness_mm=1.25), spacing_mm=(1.25, 0.5, 0.5)
    )
    move(write_series(tmp_path, volume), [round(1.25 * index - 1e-9, 1) for index in range(17)])

    geometry = read(tmp_path).volume.geometry

    assert geometry.spacing_between_slices_mm == pytest.approx(1.25, abs=1e-9)


# One case for each refusal: what happens to the series, and what is said.
Accident = Callable[[list[Path]], object]


def _each(**values: object) -> Accident:
    return lambda paths: set_attributes(paths, **values)


def _one(**values: object) -> Accident:
    return lambda paths: set_attributes(paths[4:5], **values)


def _turn(orientation: list[float], *, along: list[float]) -> Accident:
    """Give the planes this orientation and stack them along this direction, 3 mm a step."""

    def accident(paths: list[Path]) -> None:
        def change(instance: Dataset, index: int) -> None:
            instance.ImageOrientationPatient = [f"{one:.9g}" for one in orientation]
            instance.ImagePositionPatient = [f"{3.0 * index * one:.9g}" for one in along]

        edit(paths, change)

    return accident


def _askew(degrees: float) -> list[float]:
    """Orientation of axial slices whose rows are turned by this angle."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [cosine, sine, 0.0, -sine, cosine, 0.0]


def _invert(paths: list[Path]) -> None:
    set_attributes(paths, PhotometricInterpretation="MONOCHROME1")


def _repeat_with_other_pixels(paths: list[Path]) -> None:
    copy = paths[3].with_name("again.dcm")
    shutil.copy(paths[3], copy)

    def change(instance: Dataset, _: int) -> None:
        instance.SOPInstanceUID += ".1"
        instance.PixelData = bytes(len(instance.PixelData))

    edit([copy], change)


def _cut_pixels(instance: Dataset, _: int) -> None:
    instance.PixelData = instance.PixelData[:-2]


def _two_frames(instance: Dataset, _: int) -> None:
    instance.NumberOfFrames = 2
    instance.PixelData = instance.PixelData * 2


REFUSALS: dict[str, tuple[Accident, type[SeriesRejected]]] = {
    "contrast agent": (_each(ContrastBolusAgent="NON IONIC"), ContrastEnhanced),
    "contrast agent in one slice": (_one(ContrastBolusAgent="APPLIED"), ContrastEnhanced),
    "contrast volume": (_each(ContrastBolusVolume="80"), ContrastEnhanced),
    "gantry tilt in the header": (_each(GantryDetectorTilt="-18.5"), GantryTilt),
    "sheared stack": (_turn([1, 0, 0, 0, 1, 0], along=[0, 0.3, 1]), GantryTilt),
    "coronal": (_turn([1, 0, 0, 0, 0, -1], along=[0, 1, 0]), NotAxial),
    "oblique reformat": (_turn([1, 0, 0, 0, 0.96, -0.28], along=[0, 0.28, 0.96]), NotAxial),
    "decubitus": (_turn([0, 1, 0, -1, 0, 0], along=[0, 0, 1]), RotatedInPlane),
    "decubitus on the other side": (_turn([0, -1, 0, 1, 0, 0], along=[0, 0, 1]), RotatedInPlane),
    "transposed": (_turn([0, 1, 0, 1, 0, 0], along=[0, 0, 1]), RotatedInPlane),
    "askew by 11 degrees": (_turn(_askew(11.0), along=[0, 0, 1]), RotatedInPlane),
    "a missing slice": (lambda paths: remove(paths[4:5]), IrregularGeometry),
    "spacing that changes": (
        lambda paths: move(paths, [0, 3, 6, 9, 12, 15, 20, 25, 30]),
        IrregularGeometry,
    ),
    "other pixels at one place": (_repeat_with_other_pixels, DuplicatePositions),
    "too few slices": (lambda paths: remove(paths[7:]), TooFewSlices),
    "all at one place": (_each(ImagePositionPatient=[0, 0, 0]), TooFewSlices),
    "a slice to the side": (_one(ImagePositionPatient=[-10, -150, -1222.5]), InvalidGeometry),
    "another patient": (_one(PatientID="other"), InconsistentSeries),
    "another study": (_one(StudyInstanceUID="1.2.3"), InconsistentSeries),
    "another frame of reference": (_one(FrameOfReferenceUID="1.2.3"), InconsistentSeries),
    "another pixel spacing": (_one(PixelSpacing=[0.6, 0.6]), InconsistentSeries),
    "another orientation": (_one(ImageOrientationPatient=[1, 0, 0, 0, -1, 0]), InconsistentSeries),
    "another matrix": (_one(Rows=32, Columns=128), InconsistentSeries),
    "no position": (_one(ImagePositionPatient=None), InvalidGeometry),
    "no orientation": (_each(ImageOrientationPatient=None), InvalidGeometry),
    "slanted axes": (_each(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), InvalidGeometry),
    "no pixel spacing": (_each(PixelSpacing=None), InvalidGeometry),
    "pixel spacing of zero": (_each(PixelSpacing=[0, 0]), InvalidGeometry),
    "a tiny matrix": (_each(Rows=32, Columns=128), InvalidGeometry),
    "no slope": (_each(RescaleSlope=None), MissingRescale),
    "no intercept": (_one(RescaleIntercept=None), MissingRescale),
    "slope of zero": (_each(RescaleSlope="0"), MissingRescale),
    "an absurd intercept": (_each(RescaleIntercept="1e30"), MissingRescale),
    "not Hounsfield units": (_each(RescaleType="Z_EFF"), MissingRescale),
    "pixel data cut short": (lambda paths: edit(paths, _cut_pixels), UnreadablePixels),
    "no pixel data": (_each(PixelData=None), UnreadablePixels),
    "impossible bits": (_each(BitsStored=17), UnreadablePixels),
    "inverted": (_invert, UnsupportedImageType),
    "localizers only": (_each(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), NoCtSeries),
    "magnetic resonance": (_each(Modality="MR"), NoCtSeries),
    "several frames": (lambda paths: edit(paths, _two_frames), UnsupportedImageType),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_would_make_the_score_quietly_wrong_is_refused(tmp_path: Path, name: str) -> None:
    accident, expected = REFUSALS[name]
    paths = write_series(tmp_path)
    accident(paths)

    with pytest.raises(expected) as refusal:
        read(tmp_path)

    assert type(refusal.value) is expected
    assert "PHANTOM-0001" not in str(refusal.value)
    assert refusal.value.message.endswith(".")


@pytest.mark.parametrize("degrees", [0.0, 9.0, -9.0, 180.0, 171.0])
def test_slices_a_little_askew_and_those_upside_down_are_accepted(
    tmp_path: Path, degrees: float
) -> None:
    _turn(_askew(degrees), along=[0, 0, 1])(write_series(tmp_path))

    geometry = read(tmp_path).volume.geometry

    assert geometry.affine[0, 2] / 0.5 == pytest.approx(math.cos(math.radians(degrees)))


def test_a_series_turned_by_180_degrees_is_the_same_for_score_network_and_picture(
    tmp_path: Path,
) -> None:
    """As scanners store a patient on the belly: the same voxels, from the other corner."""
    volume = noise_volume(acquisition=replace(CALCIUM_SCAN, is_contrast_enhanced=None))
    affine = volume.geometry.affine.copy()
    affine[:3, 3] += 63 * (affine[:3, 1] + affine[:3, 2])
    affine[:3, 1:3] *= -1
    turned = CtVolume(
        VolumeGeometry(volume.geometry.shape, affine), volume.hu[:, ::-1, ::-1].copy(), CALCIUM_SCAN
    )
    write_series(tmp_path / "upright", volume)
    write_series(tmp_path / "turned", turned)

    upright, prone = read(tmp_path / "upright").volume, read(tmp_path / "turned").volume

    assert prone.geometry.is_same_grid(turned.geometry)
    seen = [prepare_slices(one, ModelSpec()).slices for one in (upright, prone)]
    assert np.allclose(seen[0], seen[1], atol=1e-5)
    masks = [LabelMap.from_mask(one.geometry, one.hu > 1000) for one in (upright, prone)]
    first, second = (
        measure_calcium(one, mask, protocol=LITERATURE, has_artery_labels=False).total
        for one, mask in zip((upright, prone), masks, strict=True)
    )
    assert first.agatston_score == pytest.approx(second.agatston_score)
    assert render_key_slice(upright, masks[0]) == render_key_slice(prone, masks[1])


def test_a_gap_is_described_by_its_numbers(tmp_path: Path) -> None:
    write_series(tmp_path)[4].unlink()

    with pytest.raises(IrregularGeometry) as refusal:
        read(tmp_path)

    assert refusal.value.evidence["median_gap_mm"] == pytest.approx(3.0)
    assert refusal.value.evidence["largest_gap_mm"] == pytest.approx(6.0)
    assert refusal.value.evidence["outlier_count"] == 1


def test_every_refusal_that_reading_can_give_has_a_case() -> None:
    # The first has branches only; the heart is looked for after reading; what is too large is among
    # the attacks of tests/hostile; burnt-in text matters to de-identification only.
    not_of_reading = {SeriesRejected, HeartNotCovered, SeriesTooLarge, BurnedInAnnotation}

    assert {error for _, error in REFUSALS.values()} == (
        {SeriesRejected, *SeriesRejected.__subclasses__()} - not_of_reading
    )


WARNINGS: dict[str, tuple[Accident, str]] = {
    "a UUID in place of a UID": (
        _each(SeriesInstanceUID="123e4567-e89b-12d3-a456-426614174000"),
        "missing_uids",
    ),
    "overlapping": (_each(SliceThickness="4"), "overlapping_slices"),
    "another tube voltage": (_each(KVP="100"), "kvp_not_120"),
    "unknown tube voltage": (_each(KVP=None), "kvp_not_120"),
    "thick slices": (_each(SliceThickness="5"), "thick_slices"),
    "not gated": (_each(ScanOptions=None, SeriesDescription="Chest 3.0"), "not_ecg_gated"),
    "said not to be gated": (_each(SeriesDescription="CaSc non-gated"), "not_ecg_gated"),
    "sharp kernel": (_each(ConvolutionKernel=["B70f", "1"]), "sharp_kernel"),
    "not square": (_each(PixelSpacing=[0.5, 0.6]), "anisotropic_pixels"),
    "reformatted": (_each(ImageType=["DERIVED", "PRIMARY", "MPR"]), "derived_images"),
    "once compressed with loss": (_each(LossyImageCompression="01"), "lossy_compression"),
    "nameless": (_each(SeriesDescription=None), "missing_description"),
    "blank end": (
        lambda paths: edit(paths[:1], lambda one, _: setattr(one, "PixelData", bytes(8192))),
        "blank_slices",
    ),
    "sent twice": (
        lambda paths: shutil.copy(paths[3], paths[3].with_name("again.dcm")),
        "duplicate_slices",
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_what_a_reader_should_know_is_warned_of(tmp_path: Path, name: str) -> None:
    accident, expected = WARNINGS[name]
    accident(write_series(tmp_path))

    assert expected in warning_codes(read(tmp_path))


NOT_OF_READING = frozenset(
    {
        "field_of_view_near_heart",
        "heart_cut",
        "heart_not_found",
        "high_noise",
        "mask_above_threshold",
        "metal_near_heart",
        "provisional_model",
        "tube_voltage_not_in_table",
    }
)
"""Warnings that need the heart that the network marks, the network itself, or the protocol."""


def test_every_warning_that_reading_can_give_has_a_case(repository: Path) -> None:
    page = (repository / "docs" / "refusals-and-warnings.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page.split("## Warnings")[1], flags=re.MULTILINE)

    assert {code for _, code in WARNINGS.values()} == set(listed) - NOT_OF_READING


def test_a_repeated_slice_is_used_once_and_listed(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    shutil.copy(paths[3], tmp_path / "again.dcm")

    series = read(tmp_path)

    assert series.volume.geometry.shape[0] == 9
    assert [(file.name, file.reason) for file in series.left_out_files] == [
        ("again.dcm", "repeats a slice that is there already")
    ]


UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")


def test_missing_uids_are_derived_from_the_content(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        paths = write_series(tmp_path / folder)
        set_attributes(paths, **dict.fromkeys((*UID_KEYWORDS, "SOPClassUID")))
        for path, name in zip(reversed(paths), cycle("ab"), strict=False):
            path.rename(path.with_name(f"{folder}{name}{path.name}"))

    first, second = read(tmp_path / "first"), read(tmp_path / "second")

    assert warning_codes(first) == ["missing_uids"]
    assert first.volume.identity == second.volume.identity
    assert first.volume.identity is not None
    uids = [*first.volume.identity.sop_instance_uids, first.volume.identity.series_instance_uid]
    assert all(map(is_valid_uid, uids))
    assert len(set(uids)) == 10
    assert [one.SOPClassUID.name for one in first.instances] == ["CT Image Storage"] * 9


def test_one_instance_uid_for_all_slices_is_as_good_as_none(tmp_path: Path) -> None:
    set_attributes(write_series(tmp_path), SOPInstanceUID="1.2.3.4")

    series = read(tmp_path)

    assert warning_codes(series) == ["missing_uids"]
    assert series.warnings[0].evidence == {"attributes": ["SOPInstanceUID"]}
    assert len({one.SOPInstanceUID for one in series.instances}) == 9


def test_a_uuid_is_no_uid(tmp_path: Path) -> None:
    set_attributes(write_series(tmp_path), SeriesInstanceUID="123e4567-e89b-12d3-a456-426614174000")

    series = read(tmp_path)

    assert warning_codes(series) == ["missing_uids"]
    assert is_valid_uid(series.instances[0].SeriesInstanceUID)


@pytest.mark.parametrize("factor", [0.75, 0.0, -1.0, float("nan")])
def test_a_mass_factor_of_unconfirmed_unit_is_not_used_whatever_its_value(
    tmp_path: Path, factor: float
) -> None:
    set_attributes(
        write_series(tmp_path),
        CalciumScoringMassFactorPatient=factor,
        CalciumScoringMassFactorDevice=[factor] * 3,
    )

    assert read(tmp_path).volume.mass_calibration_factor is None


def test_reading_needs_little_more_memory_than_its_result(tmp_path: Path) -> None:
    volume = noise_volume(16, side=256)
    write_series(tmp_path, volume)
    read(tmp_path)  # imports and caches

    tracemalloc.start()
    read(tmp_path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # The volume itself lies in a map of its own, which is not traced.
    assert peak_bytes + volume.hu.nbytes < 2.2 * volume.hu.nbytes


def test_geometry_of_a_round_trip_is_exact_for_odd_spacings(tmp_path: Path) -> None:
    geometry = VolumeGeometry.axial((9, 64, 64), (2.5, 0.683594, 0.683594), (-174.316, -201.1, 3.7))
    volume = CtVolume(geometry, noise_volume().hu, CALCIUM_SCAN)
    write_series(tmp_path, volume)

    assert read(tmp_path).volume.geometry.is_same_grid(geometry, tolerance_mm=1e-6)
