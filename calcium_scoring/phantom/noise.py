"""Quantum noise of a scan: coloured by the kernel, uneven by the body, alike in overlapping slices.

The noise of a slice is a sum over directions. Rays along one direction bring the noise whose waves
run across it, the more the more they are attenuated: shoulders from side to side make horizontal
streaks, and the middle of a large body is noisier than its rim.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from calcium_scoring.phantom.acquisition import ENHANCEMENT_RANGE, FloatImage, Scanner
from calcium_scoring.phantom.projections import WATER_PER_MM

DIRECTIONS: Final = 8
SECTION_PITCH_MM: Final = 12.0
"""Distance of the sections of the body from which attenuation is taken."""
_REFERENCE_INTEGRAL: Final = 4.6
"""Line integral through the heart of an average adult, about 240 mm of water."""
_LOWEST_INTEGRAL: Final = 2.0
"""Where less is in the way, the scanner's bow tie filter is."""
_TUBE_MODULATION: Final = 0.4
"""Share of the unevenness that the modulation of the tube current takes away; less at low dose."""
_LOW_DOSE_LOSS: Final = 0.35
_SIDEWAYS: Final = 0.7
"""Logarithm of what rays from side to side bring more than their attenuation says, at a low dose:
in chest CT noise is alike over several pixels of a row, but not of a column."""
_STARVED_AT: Final = 9.0
_SMOOTHEST_MM: Final = 1.4
"""Blur of the noise that iterative reconstruction leaves, at its strongest."""
_BINS: Final = 160
_BIN_MM: Final = 5.0

Section = tuple[NDArray[np.float32], float, tuple[float, float]]
"""HU (row, column), pixel spacing in mm, and x and y of the first pixel."""


class NoiseSource:
    """The noise of all slices of one scan.

    ``section_at`` returns a coarse section of the whole body at a height in mm; None stands for a
    body that is the same everywhere.
    """

    def __init__(
        self,
        scanner: Scanner,
        stream: np.random.SeedSequence,
        *,
        section_at: Callable[[float], Section] | None = None,
    ) -> None:
        self._scanner = scanner
        self._stream = stream
        self._section_at = section_at
        self._white: dict[int, FloatImage] = {}
        self._gains: dict[int, tuple[NDArray[np.float32], ...]] = {}

    def of_slice(self, index: int) -> FloatImage:
        """Return the noise of a slice in HU; slices are best asked for in order."""
        settings = self._scanner.settings
        size = settings.matrix_size
        if not settings.noise_sd_hu:
            return np.zeros((size, size), dtype=np.float32)
        weights = self._scanner.planes_of_slice(index)
        scale = float(np.sqrt(sum(weight**2 for _, weight in weights)))
        # Planes below this slice are not asked for again.
        first = min(plane for plane, _ in weights)
        self._white = {plane: image for plane, image in self._white.items() if plane >= first}
        white = np.zeros((size, size), dtype=np.float32)
        for plane, weight in weights:
            white += np.float32(weight / scale) * self._plane(plane)
        spectrum = fft.rfft2(white)
        gains = self._gains_at(index)
        noise = np.zeros((size, size), dtype=np.float32)
        for direction, gain in enumerate(gains):
            part = fft.irfft2(spectrum * self._filters[direction], s=(size, size))
            noise += gain[self._ray_of_pixel[direction]] * part
        noise *= np.float32(settings.noise_sd_hu)
        return noise

    def _plane(self, plane: int) -> FloatImage:
        if plane not in self._white:
            size = self._scanner.settings.matrix_size
            # Keys are not negative; planes just below the first slice are.
            key = (*self._stream.spawn_key, plane + 1_000_000)
            seed = np.random.SeedSequence(self._stream.entropy, spawn_key=key)
            self._white[plane] = np.random.default_rng(seed).standard_normal(
                (size, size), dtype=np.float32
            )
        return self._white[plane]

    @cached_property
    def _filters(self) -> NDArray[np.float32]:
        """Amplitude per direction and frequency: the ramp of back projection times the kernel."""
        settings = self._scanner.settings
        size, pixel = settings.matrix_size, settings.pixel_spacing_mm
        row = fft.fftfreq(size, pixel)[:, np.newaxis]
        column = fft.rfftfreq(size, pixel)[np.newaxis]
        squared = row**2 + column**2
        sigma, enhancement = settings.psf_sigma_mm, settings.edge_enhancement
        kernel = np.exp(-2.0 * (np.pi * sigma) ** 2 * squared)
        if enhancement:
            wide = np.exp(-2.0 * (np.pi * ENHANCEMENT_RANGE * sigma) ** 2 * squared)
            kernel = kernel + enhancement * (kernel - wide)
        # The power of filtered back projection grows with the frequency, hence the root.
        amplitude = np.sqrt(np.sqrt(squared) + 0.01) * kernel
        share = settings.iterative_share
        if share:
            # Iterative reconstruction takes fine noise away and leaves patches.
            amplitude *= np.exp(-2.0 * (np.pi * share * _SMOOTHEST_MM) ** 2 * squared)
        weight = np.where((column == 0) | (column == column.max()), 1.0, 2.0)
        amplitude /= np.sqrt((np.square(amplitude) * weight).sum() / size**2)
        turn = np.arctan2(row, column)
        filters = []
        for direction in range(DIRECTIONS):
            off = np.abs(turn - np.pi * direction / DIRECTIONS) % np.pi
            off = np.minimum(off, np.pi - off) * DIRECTIONS / np.pi
            # Squared cosines: the directions together are the whole.
            filters.append(amplitude * np.square(np.cos(0.5 * np.pi * np.minimum(off, 1.0))))
        return np.stack(filters).astype(np.float32)

    @cached_property
    def _ray_of_pixel(self) -> NDArray[np.int16]:
        """Bin of the ray of each direction that meets a pixel."""
        settings = self._scanner.settings
        offset = np.arange(settings.matrix_size) * settings.pixel_spacing_mm
        x, y = self._scanner.origin[0] + offset, self._scanner.origin[1] + offset
        return np.stack([_bins(x, y[:, np.newaxis], d) for d in range(DIRECTIONS)])

    def _gains_at(self, index: int) -> tuple[NDArray[np.float32], ...]:
        """Return the amplitude per ray of each direction at a slice."""
        if self._section_at is None:
            return (np.ones(_BINS, dtype=np.float32),) * DIRECTIONS
        z = float(self._scanner.origin[2]) + (
            index * self._scanner.settings.spacing_between_slices_mm
        )
        number = round(z / SECTION_PITCH_MM)
        if number not in self._gains:
            self._gains[number] = self._gains_of(self._section_at(number * SECTION_PITCH_MM))
        return self._gains[number]

    def _gains_of(self, section: Section) -> tuple[NDArray[np.float32], ...]:
        hu, pixel, (x0, y0) = section
        water = np.clip(1.0 + hu / 1000.0, 0.0, 2.5).ravel()
        x = x0 + np.arange(hu.shape[1]) * pixel
        y = y0 + np.arange(hu.shape[0]) * pixel
        integrals = []
        for direction in range(DIRECTIONS):
            bins = _bins(x, y[:, np.newaxis], direction).ravel()
            # A ray bin is _BIN_MM wide: the sum over its pixels is an area.
            sums = np.bincount(bins, water, minlength=_BINS) * pixel**2 / _BIN_MM
            integrals.append(ndimage.gaussian_filter1d(sums * WATER_PER_MM, pixel / _BIN_MM))
        attenuation = np.maximum(np.stack(integrals), _LOWEST_INTEGRAL)
        middle = float(np.sort(attenuation, axis=1)[:, -_BINS // 8 :].mean())
        kept = 1.0 - _TUBE_MODULATION
        kept += _LOW_DOSE_LOSS * min(1.0, self._scanner.settings.streak_share)
        exponent = 0.5 * kept * (attenuation - middle)
        exponent += 0.5 * (1.0 - _TUBE_MODULATION) * (middle - _REFERENCE_INTEGRAL)
        streaking = _SIDEWAYS * (0.4 + self._scanner.settings.streak_share)
        turns = np.pi * np.arange(DIRECTIONS)[:, np.newaxis] / DIRECTIONS
        # A narrow lobe about the rays of a row; the noise as a whole stays what it is.
        lobe = np.exp(streaking * np.sin(turns) ** 8)
        lobe /= np.sqrt(np.square(lobe).mean())
        gains = lobe * np.exp(np.clip(exponent, -1.6, 1.8))
        gains *= 1.0 + np.maximum(attenuation - _STARVED_AT, 0.0)
        return tuple(gains.astype(np.float32))


def _bins(x: NDArray[np.floating], y: NDArray[np.floating], direction: int) -> NDArray[np.int16]:
    """Return the bin of the ray of a direction through each position; 0 mm is in the middle."""
    angle = np.pi * direction / DIRECTIONS
    position = x * np.cos(angle) + y * np.sin(angle)
    bins = np.clip(np.floor(position / _BIN_MM) + _BINS // 2, 0, _BINS - 1)
    return np.asarray(bins, dtype=np.int16)
