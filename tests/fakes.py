"""In-memory ports and small stand-ins that say what they are."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calcium_scoring.dicom.write_series import SeriesAttributes, write_ct_series, zip_files
from calcium_scoring.model_input.heart_region import (
    HEART_FILE_KEY,
    HEART_INPUT_NAME,
    HEART_METADATA_KEY,
    HEART_OUTPUT_NAME,
    HeartSpec,
)
from calcium_scoring.model_input.segmentation import Segmentation
from calcium_scoring.model_input.spec import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelSpec
from calcium_scoring.model_input.tiling import Progress
from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap
from service.application.errors import QueueUnavailable
from service.application.jobs import ModelIdentity, Priority
from tests.builders import soft_tissue_volume

THRESHOLD_MODEL_SPEC = ModelSpec(
    model_name="Threshold", model_version="1.0.0", pixel_spacing_mm=0.5, size_multiple=1
)
"""A "network" for tests: calcium is every pixel of the middle slice of at least 200 HU."""

THRESHOLD_HU = 200.0


def write_threshold_model(
    path: Path,
    spec: ModelSpec = THRESHOLD_MODEL_SPEC,
    *,
    work_size: int = 0,
    heart_finder: bytes | None = None,
) -> Path:
    """Write a real ONNX file: logit = 1000 x (middle slice - 200 HU in model units).

    With ``work_size`` it multiplies random matrices of this size first, to take time.
    ``heart_finder`` travels inside.
    """
    low, high = spec.hu_range
    middle = spec.slice_count // 2
    constants = [
        numpy_helper.from_array(np.array([middle], dtype=np.int64), "middle"),
        numpy_helper.from_array(np.array((THRESHOLD_HU - low) / (high - low), np.float32), "bias"),
        numpy_helper.from_array(np.array(1000.0, np.float32), "slope"),
    ]
    nodes = [
        helper.make_node("Gather", [INPUT_NAME, "middle"], ["slice"], axis=1),
        helper.make_node("Sub", ["slice", "bias"], ["difference"]),
        helper.make_node("Mul", ["difference", "slope"], ["logits"]),
        helper.make_node("Identity", ["logits"], [OUTPUT_NAME]),
    ]
    if work_size:
        size = [work_size, work_size]
        nodes[-1:] = [
            helper.make_node("RandomUniform", [], ["a"], shape=size),
            helper.make_node("RandomUniform", [], ["b"], shape=size),
            helper.make_node("MatMul", ["a", "b"], ["product"]),
            helper.make_node("ReduceMax", ["product"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "nothing"], ["zero"]),
            helper.make_node("Add", ["logits", "zero"], [OUTPUT_NAME]),
        ]
        constants.append(numpy_helper.from_array(np.array(0.0, np.float32), "nothing"))
    graph = helper.make_graph(
        nodes,
        "threshold",
        [
            helper.make_tensor_value_info(
                INPUT_NAME, TensorProto.FLOAT, ["batch", spec.slice_count, "row", "column"]
            )
        ],
        [
            helper.make_tensor_value_info(
                OUTPUT_NAME, TensorProto.FLOAT, ["batch", 1, "row", "column"]
            )
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = {METADATA_KEY: spec.to_json()}
    if heart_finder is not None:
        metadata[HEART_FILE_KEY] = base64.b64encode(heart_finder).decode("ascii")
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


THRESHOLD_HEART_SPEC = HeartSpec(model_version="1.0.0", spacing_mm=6.0, smallest_shape=(8, 8, 8))
"""A "heart finder" for tests: the heart is whatever is above 0 HU on average over a cube."""


def threshold_heart_finder(spec: HeartSpec = THRESHOLD_HEART_SPEC) -> bytes:
    """Return a real ONNX file: logit = 1000 x (``ct_coarse`` - 0 HU in model units)."""
    low, high = spec.hu_range
    axes: list[str | int | None] = ["batch", 1, "slice", "row", "column"]
    graph = helper.make_graph(
        [
            helper.make_node("Sub", [HEART_INPUT_NAME, "bias"], ["difference"]),
            helper.make_node("Mul", ["difference", "slope"], [HEART_OUTPUT_NAME]),
        ],
        "threshold_heart",
        [helper.make_tensor_value_info(HEART_INPUT_NAME, TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info(HEART_OUTPUT_NAME, TensorProto.FLOAT, axes)],
        [
            numpy_helper.from_array(np.array(-low / (high - low), np.float32), "bias"),
            numpy_helper.from_array(np.array(1000.0, np.float32), "slope"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {HEART_METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def chest_volume() -> CtVolume:
    """Lung, 24 slices of 5 mm, with a heart of 216 mL, a plaque on it and a rib 36 mm in front.

    The heart is 60 mm along each axis; the plaque 6 x 6 mm of 300 HU in one slice, the rib 600 HU.
    """
    geometry = VolumeGeometry.axial((24, 50, 60), (5.0, 3.0, 3.0))
    hu = np.full(geometry.shape, -800.0, dtype=np.float32)
    hu[6:18, 16:36, 20:40] = 40.0
    hu[CHEST_PLAQUE] = 300.0
    hu[CHEST_RIB] = 600.0
    return CtVolume(geometry, hu, CtAcquisition(kvp=120.0))


CHEST_PLAQUE = np.s_[12, 20:22, 30:32]
CHEST_RIB = np.s_[:, 3:5, 4:50]


def plaque_volume(*, slice_count: int = 10, plaque_slices: int = 2) -> CtVolume:
    """Soft tissue, 3 mm slices of 64 x 64 pixels of 0.5 mm, with a 5 x 5 mm plaque of 250 HU.

    In two slices its Agatston score is 2 x 25 mm2 x weight 2 = 100.
    """
    blank = soft_tissue_volume(shape=(slice_count, 64, 64))
    hu = blank.hu.copy()
    hu[1 : 1 + plaque_slices, 10:20, 10:20] = 250.0
    geometry = VolumeGeometry.axial(hu.shape, (3.0, 0.5, 0.5))
    return CtVolume(geometry, hu, CtAcquisition(kvp=120.0, is_ecg_gated=True))


def write_study_zip(
    path: Path,
    *,
    seed: int = 1,
    slice_count: int = 10,
    plaque_slices: int = 2,
    attributes: SeriesAttributes | None = None,
) -> Path:
    """Write :func:`plaque_volume` as a zip of DICOM files, for upload."""
    folder = path.with_suffix("")
    folder.mkdir()
    volume = plaque_volume(slice_count=slice_count, plaque_slices=plaque_slices)
    return zip_files(write_ct_series(volume, folder, seed=seed, attributes=attributes), path)


class ThresholdSegmenter:
    """A Segmenter without a network: every voxel of at least 200 HU is calcium."""

    spec = THRESHOLD_MODEL_SPEC
    model = ModelIdentity("Threshold", "1.0.0", "0" * 64, is_provisional=True)

    def segment(self, volume: CtVolume, progress: Progress | None = None) -> Segmentation:
        total = volume.geometry.shape[0]
        for done in range(1, total + 1):
            if progress is not None:
                progress(done, total)
        found = LabelMap.from_mask(volume.geometry, volume.hu >= THRESHOLD_HU)
        return Segmentation(found, None, ())


class RecordingJobQueue:
    """A JobQueue that keeps what it was told; ``is_down`` makes it unavailable."""

    def __init__(self) -> None:
        self.announced: list[str] = []
        self.priorities: list[Priority] = []
        self.is_down = False

    def announce(self, job_id: str, priority: Priority = Priority.ROUTINE) -> None:
        self._refuse_when_down()
        self.announced.append(job_id)
        self.priorities.append(priority)

    def depth(self) -> int:
        self._refuse_when_down()
        return len(self.announced)

    def _refuse_when_down(self) -> None:
        if self.is_down:
            raise QueueUnavailable("The queue of this test is down.")
