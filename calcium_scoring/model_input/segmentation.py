"""From a scan to its calcium as the model sees it: find the heart, then the calcium within."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from calcium_scoring.errors import SeriesWarning
from calcium_scoring.model_input.heart_region import (
    HeartRegion,
    HeartSpec,
    PredictHeart,
    find_heart,
)
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.model_input.tiling import PredictPatch, Progress, search_volume
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import LabelMap
from calcium_scoring.volume.searched_voxels import SearchedVoxels

HEART_NOT_FOUND: Final = "heart_not_found"
"""Code of the warning that the whole scan was searched although the model looks for the heart."""


@dataclass(frozen=True)
class HeartModel:
    """The network that finds the heart and how it is fed."""

    spec: HeartSpec
    predict: PredictHeart


@dataclass(frozen=True)
class CalciumModel:
    """The networks that find calcium; without ``heart`` the whole scan is searched."""

    spec: ModelSpec
    predict_patch: PredictPatch
    heart: HeartModel | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a model found and where it looked."""

    label_map: LabelMap
    region: HeartRegion | None
    """None where the whole scan was searched."""
    warnings: tuple[SeriesWarning, ...]
    voxels: SearchedVoxels | None = None
    """Every dense voxel that was looked at, with what the network said of it; None where whoever
    segmented keeps no account."""


def segment_scan(
    volume: CtVolume, model: CalciumModel, progress: Progress | None = None
) -> Segmentation:
    """Find the calcium of a scan.

    Where the model can look for the heart and finds none, the whole scan is searched and a warning
    says so: a score of 0 because nothing was looked at would be quietly wrong.
    """
    region = None
    warnings: list[SeriesWarning] = []
    if model.heart is not None:
        region = find_heart(volume, model.heart.spec, model.heart.predict)
        if region is None:
            warnings.append(_not_found(model.heart.spec))
        elif region.is_cut:
            warnings.append(_cut(region))
    searched = search_volume(
        volume,
        model.spec,
        model.predict_patch,
        progress,
        region=region,
    )
    return Segmentation(searched.label_map, region, tuple(warnings), searched.voxels)


def _not_found(spec: HeartSpec) -> SeriesWarning:
    return SeriesWarning(
        HEART_NOT_FOUND,
        f"Nothing of a heart's size (at least {spec.smallest_heart_ml:.0f} mL) was recognised, so "
        "calcium was looked for in the whole scan. Bone and other calcium may be counted.",
        {"smallest_heart_ml": spec.smallest_heart_ml},
    )


def _cut(region: HeartRegion) -> SeriesWarning:
    return SeriesWarning(
        "heart_cut",
        f"The heart ({region.heart_volume_ml:.0f} mL of it in the scan) reaches the first or the "
        "last slice: calcium beyond is not in the score.",
        {"heart_volume_ml": round(region.heart_volume_ml, 1)},
    )
