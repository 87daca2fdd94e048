"""Enhanced CT: the same slices in one object give the same volume, score and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import Dataset, dcmread
from pydicom.uid import UID, JPEG2000Lossless, RLELossless

from calcium_scoring.dicom.read_segmentation import read_segmentation
from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.dicom.write_segmentation import write_segmentation
from calcium_scoring.dicom.write_series import ENCODING_PLUGINS, write_ct_series
from calcium_scoring.errors import (
    ContrastEnhanced,
    DuplicatePositions,
    GantryTilt,
    InvalidGeometry,
    IrregularGeometry,
    MissingRescale,
    NoCtSeries,
    SeriesRejected,
    UnreadablePixels,
)
from calcium_scoring.volume.label_map import LabelMap
from tests.fakes import ThresholdSegmenter
from tests.series_builders import CALCIUM_SCAN, noise_volume, write_enhanced, write_series

SHUFFLED = (5, 2, 8, 0, 7, 1, 6, 3, 4)


def read(folder: Path) -> CtSeries:
    return read_ct_series(folder, folder)


def enhanced(
    folder: Path,
    change: Callable[[Dataset], object] = lambda _: None,
    *,
    order: tuple[int, ...] | None = None,
) -> Path:
    """Return a folder that holds :func:`noise_volume` as one Enhanced CT object."""
    target = folder / "enhanced"
    target.mkdir()
    singles = write_series(folder / "singles", noise_volume())
    write_enhanced(target / "one.dcm", singles, order=order, change=change)
    return target


@pytest.mark.parametrize("order", [None, SHUFFLED], ids=["ascending", "shuffled"])
def test_frames_in_any_order_give_the_volume_of_the_single_slices(
    tmp_path: Path, order: tuple[int, ...] | None
) -> None:
    series = read(enhanced(tmp_path, order=order))

    singles = read(tmp_path / "singles")
    assert np.array_equal(series.volume.hu, singles.volume.hu)
    assert series.volume.geometry.is_same_grid(singles.volume.geometry, tolerance_mm=1e-9)
    assert series.volume.acquisition == CALCIUM_SCAN
    assert series.warnings == ()
    assert series.file_count == 1
    identity = series.volume.identity
    assert identity is not None
    assert len(set(identity.sop_instance_uids)) == 1
    assert identity.frame_numbers == tuple(
        1 + (order or tuple(range(9))).index(index) for index in range(9)
    )


def test_each_frame_has_its_own_rescale(tmp_path: Path) -> None:
    volume = noise_volume()
    rescales = ((1.0, -1024.0), (2.0, -1000.0), (0.5, -512.0))
    singles = write_ct_series(volume, tmp_path / "singles", seed=1, rescales=rescales)
    target = tmp_path / "enhanced"
    target.mkdir()
    write_enhanced(target / "one.dcm", singles)

    expected = read(tmp_path / "singles").volume.hu

    assert np.array_equal(read(target).volume.hu, expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_compressed_frames_are_decoded_one_by_one(tmp_path: Path, syntax: str) -> None:
    def compress(instance: Dataset) -> None:
        instance.compress(
            syntax, encoding_plugin=ENCODING_PLUGINS[UID(syntax)], generate_instance_uid=False
        )

    series = read(enhanced(tmp_path, compress, order=SHUFFLED))

    assert np.array_equal(series.volume.hu, noise_volume().hu)


def test_series_converted_by_another_tool_are_read(tmp_path: Path) -> None:
    """highdicom puts what it has no place for into sequences of unassigned attributes."""
    singles = [dcmread(path) for path in write_series(tmp_path / "singles")]
    converted = LegacyConvertedEnhancedCTImage(
        singles,
        series_instance_uid="1.2.3",
        series_number=2,
        sop_instance_uid="1.2.3.4",
        instance_number=1,
    )
    target = tmp_path / "converted"
    target.mkdir()
    converted.save_as(target / "one.dcm")

    series = read(target)

    assert np.array_equal(series.volume.hu, noise_volume().hu)
    assert series.volume.geometry.is_same_grid(noise_volume().geometry)
    assert series.volume.acquisition.kvp == 120.0
    assert series.volume.acquisition.convolution_kernel == ("B35f",)
    assert series.volume.acquisition.is_ecg_gated is True


def test_two_objects_may_hold_parts_of_one_series(tmp_path: Path) -> None:
    """A concatenation: five frames in one file, four in the other."""
    singles = write_series(tmp_path / "singles")
    target = tmp_path / "enhanced"
    target.mkdir()
    write_enhanced(target / "a.dcm", singles[:5])
    write_enhanced(target / "b.dcm", singles[5:])

    series = read(target)

    assert np.array_equal(series.volume.hu, noise_volume().hu)
    assert series.volume.identity is not None
    assert series.volume.identity.frame_numbers == (1, 2, 3, 4, 5, 1, 2, 3, 4)


def test_another_stack_is_another_series(tmp_path: Path) -> None:
    """The last frame is a slice of its own stack, as a bolus tracking image is."""

    def change(instance: Dataset) -> None:
        last = instance.PerFrameFunctionalGroupsSequence[8]
        last.FrameContentSequence[0].StackID = "2"

    series = read(enhanced(tmp_path, change))

    assert series.volume.geometry.shape[0] == 8
    assert [(other.slice_count, other.reason) for other in series.other_series] == [
        (1, "has fewer than 8 slices")
    ]


def test_a_frame_that_is_a_localizer_is_left_out_and_listed(tmp_path: Path) -> None:
    def change(instance: Dataset) -> None:
        item = Dataset()
        item.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
        instance.PerFrameFunctionalGroupsSequence[0].CTImageFrameTypeSequence = [item]

    series = read(enhanced(tmp_path, change))

    (left_out,) = series.left_out_files
    assert (left_out.number, left_out.frame_number) == (1, 1)
    assert left_out.kind == "Enhanced CT Image Storage"
    assert left_out.reason == "is a localizer"


def test_frames_acquired_before_contrast_agent_are_plain(tmp_path: Path) -> None:
    def change(instance: Dataset) -> None:
        instance.ContrastBolusAgentSequence = [Dataset()]
        usage = Dataset()
        usage.ContrastBolusAgentAdministered = "NO"
        instance.SharedFunctionalGroupsSequence[0].ContrastBolusUsageSequence = [usage]

    assert read(enhanced(tmp_path, change)).volume.acquisition.is_contrast_enhanced is None


def _shared(keyword: str, **values: object) -> Callable[[Dataset], object]:
    def change(instance: Dataset) -> None:
        (item,) = instance.SharedFunctionalGroupsSequence[0][keyword].value
        for name, value in values.items():
            if value is None:
                del item[name]
            else:
                setattr(item, name, value)

    return change


def _frame(keyword: str, **values: object) -> Callable[[Dataset], object]:
    def change(instance: Dataset) -> None:
        (item,) = instance.PerFrameFunctionalGroupsSequence[4][keyword].value
        for name, value in values.items():
            if value is None:
                del item[name]
            else:
                setattr(item, name, value)

    return change


def _agent(instance: Dataset) -> None:
    instance.ContrastBolusAgentSequence = [Dataset()]


def _without_a_frame(instance: Dataset) -> None:
    del instance.PerFrameFunctionalGroupsSequence[4]
    half = len(instance.PixelData) // 9
    instance.PixelData = instance.PixelData[: 4 * half] + instance.PixelData[5 * half :]
    instance.NumberOfFrames = 8


def _undescribed(instance: Dataset) -> None:
    del instance.PerFrameFunctionalGroupsSequence[8]


def _perfusion(instance: Dataset) -> None:
    """A map of blood flow, as in a public example of Enhanced CT."""
    for groups in instance.PerFrameFunctionalGroupsSequence:
        groups.PixelValueTransformationSequence[0].RescaleType = "US"
    unit = Dataset()
    unit.CodeValue = "ml/100ml/s"
    mapping = Dataset()
    mapping.MeasurementUnitsCodeSequence = [unit]
    instance.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]


def _other_phase(instance: Dataset) -> None:
    places = instance.PerFrameFunctionalGroupsSequence
    places[8].PlanePositionSequence = places[7].PlanePositionSequence


def _cut(instance: Dataset) -> None:
    instance.PixelData = instance.PixelData[:-2]


REFUSALS: dict[str, tuple[Callable[[Dataset], object], type[SeriesRejected]]] = {
    "a tilted gantry": (
        _shared("CTAcquisitionDetailsSequence", GantryDetectorTilt=15.0),
        GantryTilt,
    ),
    "contrast agent": (_agent, ContrastEnhanced),
    "a missing frame": (_without_a_frame, IrregularGeometry),
    "another phase at the same place": (_other_phase, DuplicatePositions),
    "no orientation": (
        _shared("PlaneOrientationSequence", ImageOrientationPatient=None),
        InvalidGeometry,
    ),
    "a frame without place": (
        _frame("PlanePositionSequence", ImagePositionPatient=None),
        InvalidGeometry,
    ),
    "a frame without rescale": (
        _frame("PixelValueTransformationSequence", RescaleSlope=None),
        MissingRescale,
    ),
    "a perfusion map": (_perfusion, MissingRescale),
    "frames that are not described": (_undescribed, NoCtSeries),
    "pixel data cut short": (_cut, UnreadablePixels),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused_of_single_slices_is_refused_of_frames(tmp_path: Path, name: str) -> None:
    change, expected = REFUSALS[name]
    folder = enhanced(tmp_path, change)

    with pytest.raises(expected) as refusal:
        read(folder)

    assert type(refusal.value) is expected


def test_a_mask_refers_to_the_frames_of_the_object(tmp_path: Path) -> None:
    series = read(enhanced(tmp_path, order=SHUFFLED))
    assert series.volume.identity is not None
    mask = LabelMap.from_mask(series.volume.geometry, series.volume.hu > 1400.0)

    path = write_segmentation(mask, series, ThresholdSegmenter.model, tmp_path / "mask.dcm")

    written = dcmread(path)
    uids = {str(header.SOPInstanceUID) for header in series.instances}
    assert uids == set(series.volume.identity.sop_instance_uids)
    (referenced,) = written.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert referenced.ReferencedSOPInstanceUID == series.volume.identity.sop_instance_uids[0]
    assert referenced.ReferencedSOPClassUID.name == "Enhanced CT Image Storage"
    frames = {}
    for groups in written.PerFrameFunctionalGroupsSequence:
        z_mm = float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        frames[round((z_mm + 1234.5) / 3.0)] = int(source.ReferencedFrameNumber)
    # Slice 0 of the volume is frame 4 of the shuffled object.
    assert frames == {index: 1 + SHUFFLED.index(index) for index in range(9)}
    assert np.array_equal(read_segmentation(path, series).labels, mask.labels)
