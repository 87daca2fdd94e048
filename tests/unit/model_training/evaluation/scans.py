"""Scans and figures whose comparison can be worked out on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.volume.label_map import LabelMap
from model_training.agreement import LesionCounts
from model_training.cases import Attribute
from model_training.evaluation.case_figures import AnnotatedScan, CaseFigures
from model_training.metrics import VoxelCounts
from tests.builders import plaque_phantom


def plaque_scan(
    *,
    peak_hu: float = 250.0,
    label: int = 5,
    confusers: NDArray[np.uint8] | None = None,
    heart: NDArray[np.uint8] | None = None,
    attributes: dict[str, Attribute] | None = None,
) -> AnnotatedScan:
    """10 x 10 pixels of 0.25 mm2 in each of two slices of 3 mm; labels are the reference."""
    volume, reference = plaque_phantom(peak_hu=peak_hu, label=label)
    return AnnotatedScan("a", "p", volume, reference, confusers, heart, attributes or {})


def without_upper_slice(scan: AnnotatedScan) -> LabelMap:
    """The reference without its second slice."""
    assert isinstance(scan.reference, LabelMap)
    labels = scan.reference.labels.copy()
    labels[2] = 0
    return LabelMap(scan.volume.geometry, labels)


def figures(reference: float, measured: float, **changes: object) -> CaseFigures:
    """A scan of these scores in which 8 of 10 voxels are found, and two more."""
    made = CaseFigures(
        case_id=f"case-{reference:g}-{measured:g}",
        patient=f"patient-{reference:g}-{measured:g}",
        is_ecg_gated=True,
        spacing_between_slices_mm=3.0,
        slice_thickness_mm=3.0,
        convolution_kernel=(),
        kvp=120.0,
        noise_sd_hu=20.0,
        attributes={},
        voxel_volume_mm3=0.75,
        warnings=(),
        reference_agatston_score=reference,
        agatston_score=measured,
        voxels=VoxelCounts(8, 2, 2),
        lesions=LesionCounts(2, 1, 3, 1),
        sources=None,
        arteries=None,
        artery_confusion=None,
        calcium_outside_region=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]
