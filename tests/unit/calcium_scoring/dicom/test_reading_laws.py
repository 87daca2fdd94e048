"""What must not change a volume, however the same slices are sent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import AIR_HU, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap
from tests.series_builders import CALCIUM_SCAN, edit, noise_volume, write_enhanced

SLICES = 9
VOLUME = noise_volume(SLICES)
FEW = settings(deadline=None, max_examples=12)
orders = st.permutations(range(SLICES))


def read(folder: Path) -> CtSeries:
    return read_ct_series(folder, folder)


def score(volume: CtVolume) -> float:
    """The score of everything of at least 1,000 HU, a third of all pixels."""
    mask = LabelMap.from_mask(volume.geometry, volume.hu >= 1000.0)
    report = measure_calcium(volume, mask, protocol=LITERATURE, has_artery_labels=False)
    return report.total.agatston_score


def assert_is_the_volume(series: CtSeries) -> None:
    assert np.array_equal(series.volume.hu, VOLUME.hu)
    assert series.volume.geometry.is_same_grid(VOLUME.geometry, tolerance_mm=1e-6)
    assert score(series.volume) == score(VOLUME)


def rename(paths: Sequence[Path], names: Sequence[str]) -> None:
    for path, name in zip(paths, names, strict=True):
        path.rename(path.with_name(name))


@FEW
@given(order=orders, suffix=st.sampled_from(["", ".dcm", ".IMA", ".bin"]))
def test_order_and_names_of_the_files_change_nothing(order: list[int], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        paths = write_ct_series(VOLUME, Path(name), seed=1)
        rename(paths, [f"x{place}{suffix}" for place in order])
        edit(
            sorted(Path(name).iterdir()),
            lambda one, index: setattr(one, "InstanceNumber", order[index]),
        )

        assert_is_the_volume(read(Path(name)))


def _big_endian(path: Path) -> None:
    written = dcmread(path)
    instance = Dataset()
    instance.update(written)
    instance.PixelData = np.frombuffer(written.PixelData, "<i2").astype(">i2").tobytes()
    instance.file_meta = written.file_meta
    instance.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    instance.save_as(path, enforce_file_format=True)


def _deflated(path: Path) -> None:
    instance = dcmread(path)
    instance.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    instance.save_as(path)


def _written_as(syntax: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_ct_series(VOLUME, folder, seed=1, transfer_syntax_uid=syntax)

    return write


def _written_and(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for path in write_ct_series(VOLUME, folder, seed=1):
            change(path)

    return write


ENCODINGS: dict[str, Callable[[Path], None]] = {
    "explicit": _written_as(ExplicitVRLittleEndian),
    "implicit": _written_as(ImplicitVRLittleEndian),
    "big endian": _written_and(_big_endian),
    "deflated": _written_and(_deflated),
    "run lengths": _written_as(RLELossless),
    "JPEG-LS": _written_as(JPEGLSLossless),
    "JPEG 2000": _written_as(JPEG2000Lossless),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_byte_order_value_representation_and_compression_change_nothing(
    tmp_path: Path, name: str
) -> None:
    ENCODINGS[name](tmp_path)

    assert_is_the_volume(read(tmp_path))


@FEW
@given(
    rescales=st.lists(
        st.tuples(
            st.sampled_from([1.0, 0.5, 0.25, 0.125]),
            st.integers(min_value=-8192, max_value=1024).map(float),
        ),
        min_size=1,
        max_size=SLICES,
    )
)
def test_a_rescale_split_between_slices_changes_nothing(
    rescales: list[tuple[float, float]],
) -> None:
    """Slopes of 1/2 to 1/8 hold whole HU; each slice has its own slope and intercept."""
    # 16 bits at 1/8 HU reach 4,096 HU to either side of the intercept.
    fitting = [(slope, max(intercept, -2000.0)) for slope, intercept in rescales]
    with tempfile.TemporaryDirectory() as name:
        write_ct_series(VOLUME, Path(name), seed=1, rescales=fitting)

        assert_is_the_volume(read(Path(name)))


@FEW
@given(
    padding=st.one_of(
        st.tuples(st.integers(-8000, -1025), st.booleans()),
        st.tuples(st.integers(1501, 8000), st.just(True)),
    )
)
def test_the_padding_value_changes_nothing(padding: tuple[int, bool]) -> None:
    """Outside a round field of view stands whatever the scanner likes; it is read as air.

    Below air it need not be named; as dense as bone it must be.
    """
    padding_hu, is_named = padding
    rows, columns = np.indices(VOLUME.hu.shape[1:]) - 31.5
    outside = np.hypot(rows, columns) > 31.0
    expected = VOLUME.hu.copy()
    expected[:, outside] = AIR_HU
    padded = VOLUME.hu.copy()
    padded[:, outside] = padding_hu
    with tempfile.TemporaryDirectory() as name:
        paths = write_ct_series(CtVolume(VOLUME.geometry, padded, CALCIUM_SCAN), Path(name), seed=1)
        if is_named:
            edit(paths, lambda one, _: one.add_new("PixelPaddingValue", "SS", padding_hu + 1024))

        assert np.array_equal(read(Path(name)).volume.hu, expected)


@FEW
@given(repeated=st.lists(st.integers(0, SLICES - 1), min_size=1, max_size=6))
def test_repeated_slices_change_nothing(repeated: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        paths = write_ct_series(VOLUME, Path(name), seed=1)
        for number, index in enumerate(repeated):
            shutil.copy(paths[index], Path(name) / f"again{number}.dcm")

        series = read(Path(name))

        assert_is_the_volume(series)
        assert [warning.code for warning in series.warnings] == ["duplicate_slices"]
        assert len(series.left_out_files) == len(repeated)


@FEW
@given(order=orders)
def test_frames_of_one_object_in_any_order_are_the_same_slices(order: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_ct_series(VOLUME, folder / "singles", seed=1)
        (folder / "enhanced").mkdir()
        write_enhanced(folder / "enhanced" / "one.dcm", paths, order=order)

        assert_is_the_volume(read(folder / "enhanced"))


@FEW
@given(
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    position=st.sampled_from(["HFS", "FFS", "HFP", "FFP"]),
    order=orders,
)
def test_feet_first_and_negative_cosines_show_the_same_places(
    flips: tuple[bool, bool, bool], position: str, order: list[int]
) -> None:
    """Rows, columns or both run the other way; slices are numbered from either end."""
    upside_down, left_right, from_the_head = flips
    hu, affine = VOLUME.hu, VOLUME.geometry.affine.copy()
    for axis, is_flipped in ((1, upside_down), (2, left_right)):
        if is_flipped:
            hu = np.flip(hu, axis)
            affine[:3, 3] += (hu.shape[axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
    stored = CtVolume(VolumeGeometry(VOLUME.geometry.shape, affine), hu.copy(), CALCIUM_SCAN)
    with tempfile.TemporaryDirectory() as name:
        paths = write_ct_series(stored, Path(name), seed=1)

        def change(instance: Dataset, index: int) -> None:
            instance.PatientPosition = position
            instance.InstanceNumber = SLICES - index if from_the_head else index + 1

        edit(paths, change)
        rename(paths, [f"{place}.dcm" for place in order])

        volume = read(Path(name)).volume

        assert np.array_equal(volume.hu, stored.hu)
        assert volume.geometry.is_same_grid(stored.geometry, tolerance_mm=1e-6)
        assert score(volume) == pytest.approx(score(VOLUME))
        place = VOLUME.geometry.position_lps_mm((4, 20, 30))
        index = np.rint(volume.geometry.index_at(place)).astype(int)
        assert volume.hu[tuple(index)] == VOLUME.hu[4, 20, 30]
