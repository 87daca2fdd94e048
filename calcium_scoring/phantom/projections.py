"""Parallel projections of a slice and back: what makes streaks, dark bands and uneven noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

FloatImage = NDArray[np.float32]
WATER_PER_MM: Final = 0.0192
"""Linear attenuation of water per mm at about 70 keV, the mean energy at 120 kVp (NIST XCOM:
0.193 per cm)."""


@dataclass(frozen=True)
class Projector:
    """Projections of a square image of ``size`` pixels along ``angle_count`` directions.

    Lengths are in pixels. Ray ``s`` of angle ``a`` is at x cos a + y sin a = s, about the middle.
    """

    size: int
    angle_count: int

    @cached_property
    def angles(self) -> NDArray[np.float64]:
        """Directions of the ray axis, evenly over half a turn."""
        return np.asarray(np.pi * np.arange(self.angle_count) / self.angle_count)

    @cached_property
    def ray_count(self) -> int:
        """Rays of one pixel width that cover the diagonal."""
        return int(np.ceil(1.4143 * self.size)) + 4

    @cached_property
    def _offset(self) -> NDArray[np.float32]:
        return (np.arange(self.size) - 0.5 * (self.size - 1)).astype(np.float32)

    def _position(self, angle: float) -> NDArray[np.float32]:
        x, y = self._offset * np.float32(np.cos(angle)), self._offset * np.float32(np.sin(angle))
        return y[:, np.newaxis] + x + np.float32(0.5 * (self.ray_count - 1))

    def forward(self, image: FloatImage) -> FloatImage:
        """Return the sums (angle, ray) of an image; only its pixels that are not 0 cost time."""
        rows, columns = np.nonzero(image)
        values = image[rows, columns].astype(np.float64)
        x, y = self._offset[columns], self._offset[rows]
        sums = np.zeros((self.angle_count, self.ray_count))
        for index, angle in enumerate(self.angles):
            position = x * np.cos(angle) + y * np.sin(angle) + 0.5 * (self.ray_count - 1)
            lower = position.astype(np.intp)
            share = position - lower
            sums[index] = np.bincount(lower, values * (1.0 - share), self.ray_count)
            sums[index] += np.bincount(lower + 1, values * share, self.ray_count)
        return sums.astype(np.float32)

    def backprojected(self, sums: FloatImage) -> FloatImage:
        """Return the image of which these are the sums: filtered back projection."""
        length = fft.next_fast_len(2 * self.ray_count)
        ramp = fft.rfftfreq(length)
        # A soft window: the finest frequencies of so few angles are not worth having.
        ramp = ramp * np.square(np.cos(np.pi * ramp))
        filtered = fft.irfft(fft.rfft(sums, length, axis=1) * ramp, length, axis=1)
        filtered = filtered[:, : self.ray_count].astype(np.float32)
        image = np.zeros((self.size, self.size), dtype=np.float32)
        for row, angle in zip(filtered, self.angles, strict=True):
            position = self._position(float(angle))
            lower = position.astype(np.intp)
            share = position - lower
            image += row[lower] * (1 - share) + row[lower + 1] * share
        image *= np.float32(np.pi / self.angle_count)
        return image


@lru_cache(maxsize=8)
def projector(size: int, angle_count: int) -> Projector:
    """Return the projector of a size, made once."""
    return Projector(size, angle_count)


def coarse(image: FloatImage, largest: int) -> tuple[FloatImage, int]:
    """Return an image of at most ``largest`` pixels a side, as means of blocks, and their size."""
    size = image.shape[0]
    factor = -(-size // largest)
    padding = -size % factor
    if padding:
        image = np.pad(image, ((0, padding), (0, padding)), mode="edge")
    blocks = image.shape[0] // factor
    means = image.reshape(blocks, factor, blocks, factor).mean(axis=(1, 3))
    return means.astype(np.float32), factor


def enlarged(image: FloatImage, factor: int, size: int) -> FloatImage:
    """Return a coarse image on the pixels that it was made of, interpolated."""
    if factor == 1:
        return image[:size, :size]
    position = (np.arange(size) + 0.5) / factor - 0.5
    position = np.clip(position, 0.0, image.shape[0] - 1.0)
    weights = np.clip(
        1.0 - np.abs(position[:, np.newaxis] - np.arange(image.shape[0])), 0.0, 1.0
    ).astype(np.float32)
    return np.asarray(weights @ image @ weights.T, dtype=np.float32)
