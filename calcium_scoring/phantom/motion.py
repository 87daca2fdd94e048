"""The beating heart in a scan: blur, double contours, commas, and steps from slice to slice.

How far each part moves is our choice after what coronary CT shows: the right coronary artery in the
right atrioventricular groove moves most, the left anterior descending artery least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.acquisition import FloatImage
from calcium_scoring.phantom.settings import ScanSettings

_RIGHT_GAIN: Final = 1.35
_LEFT_GAIN: Final = 0.55
_SIDE_WIDTH_MM: Final = 22.0
"""Over this distance about the middle of the heart the motion goes from left to right."""
_FADE_MM: Final = 5.0
_STEP_SHARE: Final = 0.35
"""Displacement between slices as a share of the motion within one."""
_KINDS: Final = ("still", "line", "double", "arc")
_KIND_ODDS: Final = (0.2, 0.35, 0.2, 0.25)
_SAMPLES: Final = 7


@dataclass(frozen=True, eq=False)
class SliceMotion:
    """How the content of a window of one slice is displaced while the slice is acquired."""

    window: tuple[slice, slice]
    sources: tuple[NDArray[np.float32], ...]
    """Row and column that each pixel of the window shows, once per sample."""
    weights: tuple[float, ...]

    def applied(self, image: FloatImage) -> FloatImage:
        """Return the image as it is acquired."""
        result = image.copy()
        part = image[self.window]
        moved = np.zeros_like(part)
        for source, weight in zip(self.sources, self.weights, strict=True):
            moved += np.float32(weight) * ndimage.map_coordinates(
                part, source, order=1, mode="nearest"
            )
        result[self.window] = moved
        return result


@dataclass(frozen=True, eq=False)
class HeartMotion:
    """The displacements (slice, sample, x and y) of a scan in mm, with weights (slice, sample)."""

    displacements_mm: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def draw(cls, settings: ScanSettings, rng: np.random.Generator) -> HeartMotion:
        """Return the motion of a scan; its size is ``motion_mm`` of the settings."""
        count, extent = settings.slice_count, settings.motion_mm
        displacements = np.zeros((count, _SAMPLES, 2))
        weights = np.full((count, _SAMPLES), 1.0 / _SAMPLES)
        base = np.zeros(2)
        angle = float(rng.uniform(0.0, 2.0 * np.pi))
        for index in range(count):
            # Each slice meets another phase: it moves much in one and little in the next.
            base = 0.5 * base + rng.normal(0.0, _STEP_SHARE * extent, size=2)
            angle += float(rng.normal(0.0, 0.6))
            kind = str(rng.choice(_KINDS, p=_KIND_ODDS))
            length = extent * float(rng.beta(1.3, 1.3)) * (0.2 if kind == "still" else 1.0)
            displacements[index] = base + _path(kind, length, angle, rng)
            if kind == "double":
                inner = rng.uniform(0.0, 0.05)
                weights[index] = [*([inner] * _SAMPLES)]
                weights[index, [0, -1]] = rng.uniform(0.3, 0.7, size=2)
                weights[index] /= weights[index].sum()
        return cls(displacements, weights)

    def of_slice(
        self, index: int, heart: FloatImage, middle: tuple[float, float], pixel_mm: float
    ) -> SliceMotion | None:
        """Return how one slice is displaced, or None where nothing moves.

        Parameters
        ----------
        index
            The slice.
        heart
            Share of each pixel that belongs to the heart, 0 to 1.
        middle
            Row and column of the middle of the heart.
        pixel_mm
            Spacing of the pixels.
        """
        displacements = self.displacements_mm[index]
        if not np.abs(displacements).max() > 0.0:
            return None
        inside = heart > 0.0
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not rows.size:
            return None
        margin = int(np.ceil((3.0 * _FADE_MM + np.abs(displacements).max()) / pixel_mm))
        window = (
            slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
            slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
        )
        fade = ndimage.gaussian_filter(heart[window].astype(np.float32), _FADE_MM / pixel_mm)
        height, width = fade.shape
        column = np.arange(width, dtype=np.float32) + np.float32(window[1].start)
        row = np.arange(height, dtype=np.float32)
        # Columns ascend to the patient's left.
        to_left = np.tanh((column - middle[1]) * pixel_mm / _SIDE_WIDTH_MM)
        gain = fade * (
            0.5 * (_LEFT_GAIN + _RIGHT_GAIN) + 0.5 * (_LEFT_GAIN - _RIGHT_GAIN) * to_left
        )
        gain = (gain / pixel_mm).astype(np.float32)
        own_rows = np.broadcast_to(row[:, np.newaxis], fade.shape)
        own_columns = np.broadcast_to(np.arange(width, dtype=np.float32), fade.shape)
        sources = tuple(
            np.stack([own_rows - gain * np.float32(dy), own_columns - gain * np.float32(dx)])
            for dx, dy in displacements
        )
        return SliceMotion(window, sources, tuple(self.weights[index].tolist()))


def _path(kind: str, length: float, angle: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the displacements of one slice about its own middle, of this extent."""
    share = np.linspace(-0.5, 0.5, _SAMPLES)
    along = np.array([np.cos(angle), np.sin(angle)])
    path: NDArray[np.float64] = length * np.outer(share, along)
    if kind == "arc":
        # A bow of up to half a circle, as the artery goes with the groove and back.
        turn = float(rng.uniform(0.8, np.pi)) * float(rng.choice([-1.0, 1.0]))
        turns = angle + turn * share
        radius = length / abs(turn)
        path = radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        path -= path.mean(axis=0)
    return path
