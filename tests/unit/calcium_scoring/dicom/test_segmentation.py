"""Label maps as DICOM SEG and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import JPEG2000Lossless

from calcium_scoring.dicom.read_segmentation import read_segmentation
from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.dicom.write_segmentation import write_segmentation
from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.errors import MaskRejected
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from tests.dciodvfy import errors_of_dciodvfy
from tests.series_builders import edit, noise_volume, set_attributes, write_series


@dataclass(frozen=True)
class Model:
    name: str = "calcium-segmenter"
    version: str = "1.2.3"
    sha256: str = "ab" * 32


@pytest.fixture
def series(tmp_path: Path) -> CtSeries:
    write_series(tmp_path / "series")
    return read_ct_series(tmp_path / "series", tmp_path)


def labels_of(series: CtSeries, *labels: int) -> LabelMap:
    """One row of four pixels for each label, in two slices."""
    array = np.zeros(series.volume.geometry.shape, dtype=np.uint8)
    for row, label in enumerate(labels):
        array[2:4, 10 + row, 20:24] = label
    return LabelMap(series.volume.geometry, array)


MASKS: dict[str, tuple[int, ...]] = {
    "binary": (CORONARY,),
    "all arteries": tuple(Artery),
    "two arteries": (Artery.LAD, Artery.RCA),
    "an artery and an unknown one": (Artery.LM, CORONARY),
    "no calcium": (),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_written_mask_is_valid_and_reads_back_as_it_was(
    tmp_path: Path, series: CtSeries, name: str
) -> None:
    label_map = labels_of(series, *MASKS[name])

    path = write_segmentation(label_map, series, Model(), tmp_path / "mask.dcm")

    assert errors_of_dciodvfy(path) == []
    assert np.array_equal(read_segmentation(path, series).labels, label_map.labels)


def test_each_artery_is_a_segment_with_its_code(tmp_path: Path, series: CtSeries) -> None:
    path = write_segmentation(
        labels_of(series, Artery.LAD, Artery.RCA), series, Model(), tmp_path / "mask.dcm"
    )

    segmentation = hd.seg.segread(path)

    described = [
        (
            int(one.SegmentNumber),
            one.SegmentLabel,
            one.anatomic_regions[0].value,
            one.segmented_property_type.value,
        )
        for one in segmentation.SegmentSequence
    ]
    assert described == [
        (1, "LAD calcium", "59438005", "29483008"),
        (2, "RCA calcium", "13647002", "29483008"),
    ]


def test_algorithm_model_and_intended_use_are_stated(tmp_path: Path, series: CtSeries) -> None:
    path = write_segmentation(labels_of(series, CORONARY), series, Model(), tmp_path / "m.dcm")

    segmentation = dcmread(path)

    (segment,) = segmentation.SegmentSequence
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "calcium-segmenter"
    assert algorithm.AlgorithmVersion == "1.2.3"
    assert "ab" * 32 in algorithm.AlgorithmParameters
    assert "Research use only" in segmentation.ContentDescription
    assert "research use only" in segmentation.SeriesDescription


def test_frames_lie_on_the_slices_of_the_source_and_name_every_instance(
    tmp_path: Path, series: CtSeries
) -> None:
    path = write_segmentation(labels_of(series, CORONARY), series, Model(), tmp_path / "m.dcm")

    segmentation = dcmread(path)

    frames = segmentation.PerFrameFunctionalGroupsSequence
    source_of_height = {
        float(one.PlanePositionSequence[0].ImagePositionPatient[2]): (
            one.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        )
        for one in frames
    }
    assert series.volume.identity is not None
    assert source_of_height == {
        -1234.5 + 3.0 * index: series.volume.identity.sop_instance_uids[index] for index in (2, 3)
    }
    referenced = {
        item.ReferencedSOPInstanceUID
        for item in segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == set(series.volume.identity.sop_instance_uids)
    assert segmentation.FrameOfReferenceUID == series.volume.identity.frame_of_reference_uid
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(3.0)


def test_uids_follow_from_series_model_and_mask(tmp_path: Path, series: CtSeries) -> None:
    def uids(labels: tuple[int, ...], version: str = "1") -> tuple[str, str]:
        path = write_segmentation(
            labels_of(series, *labels), series, Model(version=version), tmp_path / "m.dcm"
        )
        written = dcmread(path)
        return written.SeriesInstanceUID, written.SOPInstanceUID

    first = uids((CORONARY,))

    assert uids((CORONARY,)) == first
    assert uids(())[0] == first[0]
    assert uids(())[1] != first[1]
    assert not set(uids((CORONARY,), version="2")) & set(first)


def test_series_without_uids_and_patient_still_give_a_valid_mask(tmp_path: Path) -> None:
    paths = write_ct_series(
        noise_volume(), tmp_path / "series", seed=1, transfer_syntax_uid=JPEG2000Lossless
    )
    set_attributes(
        paths,
        **dict.fromkeys(
            (
                "SOPClassUID",
                "SOPInstanceUID",
                "SeriesInstanceUID",
                "StudyInstanceUID",
                "FrameOfReferenceUID",
                "PatientID",
                "PatientName",
                "PatientBirthDate",
                "PatientSex",
                "StudyDate",
                "StudyTime",
                "StudyID",
                "AccessionNumber",
                "ReferringPhysicianName",
                "PositionReferenceIndicator",
                "SliceThickness",
                "SeriesNumber",
            )
        ),
    )
    series = read_ct_series(tmp_path / "series", tmp_path)

    path = write_segmentation(labels_of(series, CORONARY), series, Model(), tmp_path / "m.dcm")

    assert errors_of_dciodvfy(path) == []
    assert read_segmentation(path, series).calcium_mask.sum() == 8


def test_values_that_are_not_valid_are_not_handed_on(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "series")

    def spoil(instance: Dataset, _: int) -> None:
        instance.add_new("PatientBirthDate", "DA", "1950.01.01")
        instance.add_new("StudyDate", "DA", "20001345")
        instance.add_new("StudyTime", "TM", "99")
        instance.add_new("PatientSex", "CS", "MALE")
        instance.add_new("PatientAge", "AS", "55")
        instance.add_new("SeriesNumber", "IS", "2147483647")

    edit(paths, spoil)
    series = read_ct_series(tmp_path / "series", tmp_path)

    path = write_segmentation(labels_of(series, CORONARY), series, Model(), tmp_path / "m.dcm")

    assert errors_of_dciodvfy(path) == []


def test_names_in_other_scripts_are_kept(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "series")
    set_attributes(paths, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    series = read_ct_series(tmp_path / "series", tmp_path)

    path = write_segmentation(labels_of(series, CORONARY), series, Model(), tmp_path / "m.dcm")

    assert dcmread(path).PatientName == "Müller^Jürgen"
    assert errors_of_dciodvfy(path) == []


def test_masks_of_other_tools_are_read_whatever_their_order_and_direction(
    tmp_path: Path, series: CtSeries
) -> None:
    """Frames upside down and mirrored, as ITK tools write them for their own axes."""
    label_map = labels_of(series, Artery.LAD)
    path = write_segmentation(label_map, series, Model(), tmp_path / "m.dcm")
    segmentation = dcmread(path)
    pixels = segmentation.pixel_array[:, ::-1, ::-1]
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [
            float(position[0]) + 63 * 0.5,
            float(position[1]) + 63 * 0.5,
            float(position[2]),
        ]
    segmentation.PixelData = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    segmentation.save_as(path)

    assert np.array_equal(read_segmentation(path, series).labels, label_map.labels)


@pytest.mark.parametrize(
    ("orientation", "corner", "turn"),
    [
        ([0, 1, 0, 1, 0, 0], (0, 0), lambda one: one.T),
        ([0, 1, 0, -1, 0, 0], (0, 63), np.rot90),
        ([0, -1, 0, 1, 0, 0], (63, 0), lambda one: np.rot90(one, -1)),
        ([0, -1, 0, -1, 0, 0], (63, 63), lambda one: np.rot90(one, 2).T),
    ],
    ids=["transposed", "turned left", "turned right", "transposed upside down"],
)
def test_square_frames_that_are_transposed_or_turned_by_90_degrees_are_refused(
    tmp_path: Path,
    series: CtSeries,
    orientation: list[int],
    corner: tuple[int, int],
    turn: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> None:
    """They cover the same square as the slice; only their axes tell that they lie otherwise."""
    path = write_segmentation(labels_of(series, CORONARY), series, Model(), tmp_path / "m.dcm")
    segmentation = dcmread(path)
    pixels = np.stack([turn(frame) for frame in segmentation.pixel_array])
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [
            float(x) + 0.5 * corner[1],
            float(y) + 0.5 * corner[0],
            float(z),
        ]
    segmentation.PixelData = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    segmentation.save_as(path)

    with pytest.raises(MaskRejected, match="transposed or turned by 90 degrees"):
        read_segmentation(path, series)


def test_a_frame_that_is_tilted_about_its_diagonal_is_refused(
    tmp_path: Path, series: CtSeries
) -> None:
    """Two opposite corners lie on the slice all the same."""
    path = write_segmentation(labels_of(series, CORONARY), series, Model(), tmp_path / "m.dcm")
    along_diagonal, across = np.array([1, 1, 0]) / 2**0.5, np.array([0.6, -0.6, 0.8 * 2**0.5])
    across /= np.linalg.norm(across)
    row, column = (along_diagonal + across) / 2**0.5, (along_diagonal - across) / 2**0.5

    def tilt(instance: Dataset, _: int) -> None:
        shared = instance.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [
            f"{one:.9f}" for one in (*row, *column)
        ]

    edit([path], tilt)

    with pytest.raises(MaskRejected):
        read_segmentation(path, series)


def test_a_single_segment_of_unknown_kind_is_coronary_calcium(
    tmp_path: Path, series: CtSeries
) -> None:
    path = write_segmentation(labels_of(series, Artery.LAD), series, Model(), tmp_path / "m.dcm")

    def forget(instance: Dataset, _: int) -> None:
        del instance.SegmentSequence[0].AnatomicRegionSequence
        instance.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "85756007"

    edit([path], forget)

    assert set(np.unique(read_segmentation(path, series).labels)) == {0, CORONARY}


def test_several_segments_of_unknown_kind_are_refused(tmp_path: Path, series: CtSeries) -> None:
    path = write_segmentation(
        labels_of(series, Artery.LAD, Artery.RCA), series, Model(), tmp_path / "m.dcm"
    )

    def forget(instance: Dataset, _: int) -> None:
        for segment in instance.SegmentSequence:
            del segment.AnatomicRegionSequence
            segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "80891009"  # heart

    edit([path], forget)

    with pytest.raises(MaskRejected, match="Segment 1 of 2 says neither"):
        read_segmentation(path, series)


@pytest.mark.parametrize(
    "shift_mm", [(0.0, 0.0, 1.0), (0.3, 0.0, 0.0), (500.0, 0.0, 0.0)], ids=["z", "half", "far"]
)
def test_frames_that_lie_elsewhere_are_refused(
    tmp_path: Path, series: CtSeries, shift_mm: tuple[float, float, float]
) -> None:
    path = write_segmentation(labels_of(series, CORONARY), series, Model(), tmp_path / "m.dcm")

    def shift(instance: Dataset, _: int) -> None:
        for frame in instance.PerFrameFunctionalGroupsSequence:
            plane = frame.PlanePositionSequence[0]
            plane.ImagePositionPatient = [
                float(a) + b for a, b in zip(plane.ImagePositionPatient, shift_mm, strict=True)
            ]

    edit([path], shift)

    with pytest.raises(MaskRejected, match="drawn on this series"):
        read_segmentation(path, series)


def test_what_is_no_segmentation_is_refused(tmp_path: Path, series: CtSeries) -> None:
    text = tmp_path / "text.dcm"
    text.write_text("no mask")

    with pytest.raises(MaskRejected, match="cannot be read"):
        read_segmentation(text, series)
    with pytest.raises(MaskRejected, match="no segmentation"):
        read_segmentation(tmp_path / "series" / "000001.dcm", series)


def test_a_label_map_of_another_grid_is_not_written(tmp_path: Path, series: CtSeries) -> None:
    other = noise_volume(10)
    label_map = LabelMap(other.geometry, np.zeros(other.hu.shape, dtype=np.uint8))

    with pytest.raises(ValueError, match="grid of its series"):
        write_segmentation(label_map, series, Model(), tmp_path / "m.dcm")


def test_a_label_map_segmentation_of_another_tool_is_read(tmp_path: Path, series: CtSeries) -> None:
    label_map = labels_of(series, Artery.LAD)
    path = write_segmentation(label_map, series, Model(), tmp_path / "m.dcm")
    description = hd.seg.segread(path).SegmentSequence[0]
    other = hd.seg.Segmentation(
        source_images=[dcmread(one) for one in sorted((tmp_path / "series").iterdir())],
        pixel_array=(label_map.labels > 0).astype(np.uint8),
        segmentation_type="LABELMAP",
        segment_descriptions=[hd.seg.SegmentDescription.from_dataset(description)],
        series_instance_uid="1.2.3",
        series_number=1,
        sop_instance_uid="1.2.4",
        instance_number=1,
        manufacturer="other",
        manufacturer_model_name="other",
        software_versions="1",
        device_serial_number="1",
    )
    other.save_as(tmp_path / "other.dcm")

    assert np.array_equal(
        read_segmentation(tmp_path / "other.dcm", series).labels, label_map.labels
    )


def test_mask_that_is_written_again_is_the_same_file(tmp_path: Path, series: CtSeries) -> None:
    label_map = labels_of(series, Artery.LAD, CORONARY)
    paths = [
        write_segmentation(label_map, series, Model(), tmp_path / f"{number}.dcm")
        for number in (1, 2)
    ]

    assert paths[0].read_bytes() == paths[1].read_bytes()
    segmentation = dcmread(paths[0])
    header = series.instances[0]
    assert (segmentation.ContentDate, segmentation.ContentTime) == (
        header.AcquisitionDate,
        header.AcquisitionTime,
    )


def test_mask_of_a_scan_without_dates_says_so_with_a_date_that_no_scan_has(
    tmp_path: Path, series: CtSeries
) -> None:
    for what in ("Acquisition", "Content", "Series", "Study"):
        for header in series.instances:
            setattr(header, f"{what}Date", "")
    path = write_segmentation(labels_of(series, CORONARY), series, Model(), tmp_path / "m.dcm")

    assert dcmread(path).ContentDate == "19000101"
    assert errors_of_dciodvfy(path) == []
