"""The shortcuts of the search with the network that ships, on a simulated patient."""

from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.model_input.segmentation import segment_scan
from calcium_scoring.phantom.patient import simulate_patient
from model_training.export_onnx import load_onnx
from service.settings import DEFAULT_MODEL_PATH
from tests.exhaustive import answers_in_the_box, deciding_voxels_alone


@pytest.mark.slow
def test_the_search_gives_the_bits_of_preparing_and_showing_every_slice() -> None:
    volume = simulate_patient(
        100_200,
        kind="gated",
        matrix_size=224,
        pixel_spacing_mm=0.9,
        spacing_between_slices_mm=6.0,
        slice_thickness_mm=3.0,
        z_extent_mm=130.0,
        burden_category=">400",
    ).volume
    model = deciding_voxels_alone(load_onnx(DEFAULT_MODEL_PATH))
    found = segment_scan(volume, model)
    assert found.region is not None
    assert found.voxels is not None

    indices, probabilities = answers_in_the_box(volume, model, found.region)

    np.testing.assert_array_equal(found.voxels.indices, indices)
    np.testing.assert_array_equal(found.voxels.probabilities, probabilities)
    with_dense = np.unique(indices // np.prod(volume.geometry.shape[1:]))
    assert 0 < with_dense.size < volume.geometry.shape[0], "some slices hold no dense voxel"
    assert (probabilities >= model.spec.probability_threshold).any()
