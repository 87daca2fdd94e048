"""Pictures of the scans on which a model and its reference differ most."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from calcium_scoring.rendering.overlay import COLOR_OF_LABEL, render_overlay_png
from calcium_scoring.scoring.categories import RISK_CATEGORIES
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import LabelMap
from model_training.evaluation.case_figures import CaseFigures
from model_training.evaluation.wording import value_text

_GAP_PX: Final = 6
_SHOWN_MM: Final = 140.0
"""Side of what is shown around the difference (our choice): most of a heart."""
_FILL_OPACITY: Final = 0.25
"""Of the tint within an outline, as the pictures of the service have it."""
_GREYS: Final = 128
_TINTED_GREYS: Final = 16


def worst_cases(cases: Sequence[CaseFigures], count: int) -> list[CaseFigures]:
    """Return the scans that differ most: by categories apart, then by score, then by voxels.

    Scans on whose every voxel both agree are not among them.
    """
    differing = [
        case
        for case in cases
        if case.voxels is not None and case.voxels.false_positives + case.voxels.false_negatives
    ]
    return sorted(differing, key=_badness, reverse=True)[:count]


def most_different_slice(found: LabelMap, reference: LabelMap) -> int:
    """Return the slice in which most voxels are calcium of one only; the lowest in a tie."""
    differs = found.calcium_mask != reference.calcium_mask
    return int(np.count_nonzero(differs, axis=(1, 2)).argmax())


def write_picture(
    path: Path, volume: CtVolume, found: LabelMap, reference: LabelMap, slice_index: int
) -> None:
    """Write the surroundings of the difference in a slice, twice side by side.

    With the reference on the left, with what the model found on the right.
    """
    rows, columns = _surroundings(volume, found, reference, slice_index)
    box = (slice(None), rows, columns)
    geometry = volume.geometry.cropped(box)
    shown = CtVolume(geometry, volume.hu[box].copy(), volume.acquisition)
    left, right = (
        Image.open(
            BytesIO(render_overlay_png(shown, LabelMap(geometry, labels[box].copy()), slice_index))
        )
        for labels in (reference.labels, found.labels)
    )
    page = Image.new("RGB", (left.width + _GAP_PX + right.width, left.height), "white")
    page.paste(left, (0, 0))
    page.paste(right, (left.width + _GAP_PX, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    # A third of the bytes, with the colours of the outlines as they are.
    page.quantize(palette=_palette(), dither=Image.Dither.NONE).save(path, optimize=True)


def _surroundings(
    volume: CtVolume, found: LabelMap, reference: LabelMap, slice_index: int
) -> tuple[slice, slice]:
    """Return rows and columns around the middle of what differs in a slice."""
    differs = found.calcium_mask[slice_index] != reference.calcium_mask[slice_index]
    places = np.argwhere(differs) if differs.any() else np.argwhere(np.ones_like(differs))
    parts = []
    for middle, extent, spacing_mm in zip(
        places.mean(axis=0), differs.shape, volume.geometry.pixel_spacing_mm, strict=True
    ):
        side = min(extent, max(1, round(_SHOWN_MM / spacing_mm)))
        start = int(np.clip(round(middle - side / 2), 0, extent - side))
        parts.append(slice(start, start + side))
    return parts[0], parts[1]


def _palette() -> Image.Image:
    """Return a picture that holds greys, the outlines of the labels and greys tinted by them."""
    greys = np.linspace(0.0, 255.0, _GREYS)
    outlines = np.array(sorted(set(COLOR_OF_LABEL.values())), dtype=np.float64)
    tinted = [
        (1.0 - _FILL_OPACITY) * grey + _FILL_OPACITY * outline
        for outline in outlines
        for grey in np.linspace(0.0, 255.0, _TINTED_GREYS)
    ]
    colors = np.concatenate([np.repeat(greys[:, np.newaxis], 3, axis=1), outlines, tinted])
    palette = Image.new("P", (1, 1))
    palette.putpalette(colors.round().astype(np.uint8).tobytes())
    return palette


def caption(case: CaseFigures, slice_index: int) -> str:
    """Return a sentence for under the picture."""
    return (
        f"{case.case_id}, slice {slice_index}: Agatston "
        f"{value_text(case.reference_agatston_score, 1)} by the reference, "
        f"{value_text(case.agatston_score, 1)} by the model"
    )


def _badness(case: CaseFigures) -> tuple[int, float, float]:
    apart = abs(
        RISK_CATEGORIES.index(case.risk_category)
        - RISK_CATEGORIES.index(case.reference_risk_category)
    )
    difference = abs(case.agatston_score - case.reference_agatston_score)
    return apart, difference, 0.0 if case.voxels is None else 1.0 - case.voxels.f1
