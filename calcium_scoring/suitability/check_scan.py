"""All that the pixels of a scan say against its score, or about it."""

from __future__ import annotations

from calcium_scoring.errors import HeartNotCovered, SeriesWarning
from calcium_scoring.model_input.segmentation import HEART_NOT_FOUND, Segmentation
from calcium_scoring.suitability.blood_pool import check_blood_pool
from calcium_scoring.suitability.coverage import check_coverage, field_of_view_warnings
from calcium_scoring.suitability.image_noise import noise_warnings
from calcium_scoring.suitability.metal import metal_warnings
from calcium_scoring.volume.ct_volume import CtVolume


def check_scan(volume: CtVolume, segmentation: Segmentation) -> tuple[SeriesWarning, ...]:
    """Return what a reader of the score should know, in the order of the checks.

    A model that does not look for the heart leaves nothing to check.

    Raises
    ------
    HeartNotCovered
        The model looked for the heart and found none, or too little of it is in the scan.
    ContrastEnhanced
        The blood holds contrast agent.
    """
    region = segmentation.region
    if region is None:
        _refuse_without_heart(segmentation)
        return ()
    check_coverage(region)
    check_blood_pool(region)
    return (
        *field_of_view_warnings(region),
        *noise_warnings(volume, region),
        *metal_warnings(volume, region),
    )


def _refuse_without_heart(segmentation: Segmentation) -> None:
    for warning in segmentation.warnings:
        if warning.code == HEART_NOT_FOUND:
            raise HeartNotCovered(
                "Nothing of a heart's size was recognised in the scan. Send an axial series from "
                "above the left main artery to below the heart; a phantom or a heart that is not "
                "recognised can be measured with a reader's own mask (`cacscore measure`).",
                **warning.evidence,
            )
