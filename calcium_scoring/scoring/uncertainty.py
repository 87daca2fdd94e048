"""What the Agatston score would be in a repeat scan of the same patient: ADR 0016.

Around each piece of marked calcium the scan is drawn many times anew: the grid lies elsewhere by up
to half a voxel along each axis, and noise as strong and as correlated as this scan's own is added.
Every draw is scored by the protocol. Draws are biased, since noise is added to noise and
interpolation blurs; differences of two draws are not. A repeat score is therefore taken to be the
score of this scan plus the difference of two draws, on the scale of square roots, on which the
spread of repeat scores depends least on the score.

What cannot be drawn from a scan is not in the interval: motion, another heart rate, another
scanner, and calcium that the network did not mark at all.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.scoring.agatston import REFERENCE_SPACING_MM, density_weight
from calcium_scoring.scoring.categories import RISK_CATEGORIES, risk_category
from calcium_scoring.scoring.image_noise import ImageNoise, measure_noise
from calcium_scoring.scoring.lesions import is_calcium
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import BACKGROUND, LabelMap, MaskArray

LEVEL: Final = 0.9
"""Share of repeat scans whose score should lie within the interval."""
DRAW_COUNT: Final = 200
"""Draws of the calcium; their 39,800 ordered differences make the interval. Our choice."""
FEWEST_DRAWS: Final = 50
"""Where much is marked there are fewer draws, but no fewer than these. Our choice."""
USUAL_EFFORT: Final = 20_000_000
"""Voxels that are drawn in all, about two seconds; beyond, there are fewer draws. Our choice."""
LARGEST_BLOCK: Final = 2_000_000
"""Voxels about marked calcium beyond which nothing is drawn. Our choice."""
ZONE_MM: Final = 1.5
"""How far beyond the mask calcium may appear in a draw, within a slice. Our choice: about the width
of the point spread of a cardiac scan."""

PUBLISHED_VARIABILITY: Final = 0.1345
"""Mean difference of the Agatston scores of two scans, relative to the score."""
PUBLISHED_VARIABILITY_SOURCE: Final = (
    "Jpn J Radiol 2014;32:677-684 (doi 10.1007/s11604-014-0364-3): mean difference between two "
    "scans two weeks apart, read by one observer; 104 patients with calcium, 0.8 mm slices"
)

_TOUCHING: Final = np.ones((1, 3, 3), dtype=np.bool_)
_SLICE_MARGIN: Final = 1
"""Calcium may appear one slice beyond the mask: the grid moves by half a slice at most."""
_EDGE: Final = 2
"""Voxels beyond a zone that its interpolation reads."""
_LARGEST_BATCH: Final = 4_000_000
"""Voxels that are drawn at once; bounds the memory to some tens of megabytes. Our choice."""
_SHARPNESS: Final = -0.5
"""Keys' cubic convolution, IEEE Trans Acoust 1981;29:1153-1160: exact for parabolas."""
_STRONGEST_CORRELATION: Final = 0.95
_WEAKEST_CORRELATION: Final = 0.02
"""Below it neighbours are taken to be independent. Our choice."""


@dataclass(frozen=True)
class ScoreUncertainty:
    """What repeat scans would score.

    ``low`` and ``high`` hold ``level`` of them. ``category_probabilities`` names every risk
    category and adds up to 1; ``probability_above_zero`` is 1 less that of category 0.
    """

    level: float
    low: float
    high: float
    probability_above_zero: float
    category_probabilities: dict[str, float]
    noise: ImageNoise
    draw_count: int


class UncertaintyGap(StrEnum):
    """Why nothing is said of repeat scans."""

    NOTHING_MARKED = "nothing_marked"
    """The mask holds no voxel that reaches the threshold: there is nothing to draw anew."""
    NOISE_UNKNOWN = "noise_unknown"
    """The scan holds too little soft tissue to measure its noise."""
    MASK_TOO_LARGE = "mask_too_large"
    """More is marked than calcium in any heart; drawing it anew would take too long."""
    PROTOCOL_ACROSS_SLICES = "protocol_across_slices"
    """The protocol forms its lesions across slices; the draws are scored slice by slice."""


def score_uncertainty(
    volume: CtVolume, label_map: LabelMap, protocol: ScoringProtocol, agatston_score: float
) -> ScoreUncertainty | UncertaintyGap:
    """Estimate the scores of repeat scans from one scan and its mask; the same every time.

    Parameters
    ----------
    volume, label_map
        On the same grid. Voxels that are marked and too small to count have their say: in a repeat
        scan they may be large enough.
    agatston_score
        The score of this scan under ``protocol``.
    """
    if protocol.connectivity_3d is not None:
        return UncertaintyGap.PROTOCOL_ACROSS_SLICES
    marked = _marked(volume, label_map, protocol)
    slices = np.flatnonzero(marked.any(axis=(1, 2)))
    if not slices.size:
        return UncertaintyGap.NOTHING_MARKED
    noise = measure_noise(volume, (int(slices[0]), int(slices[-1]))) or measure_noise(volume)
    if noise is None:
        return UncertaintyGap.NOISE_UNKNOWN
    zones = list(_zones(volume, marked, protocol))
    block = sum(hu.size for hu, _ in zones)
    if block > LARGEST_BLOCK:
        return UncertaintyGap.MASK_TOO_LARGE
    draw_count = max(FEWEST_DRAWS, min(DRAW_COUNT, USUAL_EFFORT // block))
    rng = np.random.default_rng(_seed(volume, marked, protocol))
    draws = np.zeros(draw_count)
    for hu, zone in zones:
        batch = max(1, _LARGEST_BATCH // hu.size)
        for first in range(0, draw_count, batch):
            count = min(batch, draw_count - first)
            drawn = _drawn(hu, noise, count, rng)
            draws[first : first + count] += _scored(drawn, zone, volume, protocol)
    return _summary(agatston_score, draws, noise)


def _marked(volume: CtVolume, label_map: LabelMap, protocol: ScoringProtocol) -> MaskArray:
    """Return labelled voxels that reach the threshold; memory is taken for their slices only."""
    marked = np.zeros(label_map.labels.shape, dtype=np.bool_)
    for index in np.flatnonzero(label_map.labels.any(axis=(1, 2))):
        labels = label_map.labels[index]
        marked[index] = (labels != BACKGROUND) & is_calcium(volume.hu[index], protocol)
    return marked


def _summary(
    agatston_score: float, draws: NDArray[np.float64], noise: ImageNoise
) -> ScoreUncertainty:
    zero_share = float(np.mean(draws == 0.0))
    if agatston_score > 0.0:
        repeats = _repeats(agatston_score, draws)
        low, high = np.quantile(repeats, [0.5 * (1.0 - LEVEL), 0.5 * (1.0 + LEVEL)]).tolist()
        if zero_share >= 0.5 * (1.0 - LEVEL):
            low = 0.0
        positive = _repeats(agatston_score, draws[draws > 0.0])
        positive = positive[positive > 0.0]
    else:
        # Nothing to add a difference to: the draws themselves, of which most are 0.
        low, high = 0.0, float(np.quantile(draws, LEVEL))
        positive = draws[draws > 0.0]
    if not positive.size:
        positive = np.full(1, agatston_score)
    counts = Counter(risk_category(score) for score in positive.tolist())
    probabilities = {
        category: (1.0 - zero_share) * counts[category] / positive.size
        for category in RISK_CATEGORIES
    }
    probabilities[RISK_CATEGORIES[0]] += zero_share
    return ScoreUncertainty(
        level=LEVEL,
        low=low,
        high=high,
        probability_above_zero=1.0 - probabilities[RISK_CATEGORIES[0]],
        category_probabilities=probabilities,
        noise=noise,
        draw_count=draws.size,
    )


def _repeats(agatston_score: float, draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the score plus every difference of two draws, on the scale of square roots."""
    roots = np.sqrt(draws)
    differences = (roots[:, np.newaxis] - roots)[~np.eye(draws.size, dtype=np.bool_)]
    moved = np.sqrt(agatston_score) + differences
    repeats: NDArray[np.float64] = np.square(np.clip(moved, 0.0, None))
    return repeats


def _seed(volume: CtVolume, marked: MaskArray, protocol: ScoringProtocol) -> int:
    """Return a seed that follows from the calcium: the same scan and mask give the same draws."""
    digest = hashlib.sha256(protocol.name.encode())
    digest.update(np.flatnonzero(marked).astype("<i8").tobytes())
    digest.update(volume.hu[marked].astype("<f4").tobytes())
    return int.from_bytes(digest.digest()[:8], "little")


def _zones(
    volume: CtVolume, marked: MaskArray, protocol: ScoringProtocol
) -> Iterator[tuple[NDArray[np.float32], MaskArray]]:
    """Yield HU and zone (slice, row, column) about each piece of calcium.

    A zone is where calcium may appear: the marked voxels and what lies near them, less the dense
    voxels that were not marked and their neighbours. The HU reach a little beyond it.
    """
    reach = _neighbourhood(volume.geometry.pixel_spacing_mm)
    margin = [size // 2 + _EDGE for size in reach.shape]
    (box,) = ndimage.find_objects(marked.view(np.uint8))
    block = _widened(box, margin, marked.shape)
    hu, inside = volume.hu[block].astype(np.float32), marked[block]
    zone = ndimage.binary_dilation(inside, reach)
    refused = ndimage.binary_dilation(is_calcium(hu, protocol) & ~inside, _TOUCHING)
    zone &= inside | ~refused
    pieces, _ = ndimage.label(zone, np.ones((3, 3, 3)))
    for number, piece in enumerate(ndimage.find_objects(pieces), start=1):
        around = _widened(piece, [_EDGE] * 3, zone.shape)
        yield hu[around], pieces[around] == number


def _neighbourhood(pixel_spacing_mm: tuple[float, float]) -> MaskArray:
    """Return (slice, row, column) what lies within reach of a voxel, at least its neighbours."""
    rows, columns = (max(1, int(ZONE_MM / spacing)) for spacing in pixel_spacing_mm)
    row = np.arange(-rows, rows + 1)[:, np.newaxis]
    column = np.arange(-columns, columns + 1)
    disc = np.hypot(row * pixel_spacing_mm[0], column * pixel_spacing_mm[1]) <= ZONE_MM
    disc |= np.abs(row) + np.abs(column) <= 1
    reach = np.zeros((2 * _SLICE_MARGIN + 1, *disc.shape), dtype=np.bool_)
    reach[:, rows, columns] = True
    reach[_SLICE_MARGIN] = disc
    return reach


def _widened(
    box: tuple[slice, ...], margin: list[int], shape: tuple[int, ...]
) -> tuple[slice, slice, slice]:
    slices, rows, columns = (
        slice(max(0, part.start - more), min(size, part.stop + more))
        for part, more, size in zip(box, margin, shape, strict=True)
    )
    return slices, rows, columns


def _drawn(
    hu: NDArray[np.float32], noise: ImageNoise, count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return (draw, slice, row, column): the block on grids that lie elsewhere, with more noise."""
    slices, rows, columns = (
        _interpolation(rng.uniform(-0.5, 0.5, count), size) for size in hu.shape
    )
    moved = np.tensordot(slices, hu, axes=1)
    moved = rows[:, np.newaxis] @ moved
    moved = moved @ columns.transpose(0, 2, 1)[:, np.newaxis]
    moved += np.float32(noise.sd_hu) * _noise(moved.shape, noise, rng)
    return moved


def _interpolation(offsets: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Return (draw, size, size) weights that read an axis at ``offsets`` voxels further on."""
    position = np.arange(size) + offsets[:, np.newaxis]
    base = np.floor(position).astype(np.intp)
    t = position - base
    a = _SHARPNESS
    taps = (
        a * (t**3 - 2.0 * t**2 + t),
        (a + 2.0) * t**3 - (a + 3.0) * t**2 + 1.0,
        -(a + 2.0) * t**3 + (2.0 * a + 3.0) * t**2 - a * t,
        a * (t**2 - t**3),
    )
    weights = np.zeros((offsets.size, size, size))
    draw, target = np.indices(position.shape)
    for step, tap in enumerate(taps, start=-1):
        np.add.at(weights, (draw, target, np.clip(base + step, 0, size - 1)), tap)
    return weights.astype(np.float32)


def _noise(
    shape: tuple[int, ...], noise: ImageNoise, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return noise (draw, slice, row, column) of standard deviation 1 with these correlations."""
    values = rng.standard_normal(shape, dtype=np.float32)
    for axis, correlation in ((2, noise.row_correlation), (3, noise.column_correlation)):
        if correlation > _WEAKEST_CORRELATION:
            values = _blurred(values, axis, min(correlation, _STRONGEST_CORRELATION))
    carried = np.clip(noise.slice_correlation, 0.0, _STRONGEST_CORRELATION)
    for index in range(1, shape[1]):
        values[:, index] *= np.sqrt(1.0 - carried**2)
        values[:, index] += carried * values[:, index - 1]
    return values


def _blurred(values: NDArray[np.float32], axis: int, correlation: float) -> NDArray[np.float32]:
    """Return white noise blurred so that neighbours are as alike as asked, of variance 1 still."""
    kernel = _kernel(float(np.interp(correlation, _CORRELATIONS, _SIGMAS)))
    blurred: NDArray[np.float32] = ndimage.correlate1d(values, kernel, axis=axis, mode="wrap")
    return blurred


def _kernel(sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian kernel that leaves the variance of white noise as it is."""
    radius = int(np.ceil(3.0 * sigma))
    kernel: NDArray[np.float64] = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / sigma))
    kernel /= np.sqrt(np.square(kernel).sum())
    return kernel


_SIGMAS: Final = np.linspace(0.25, 4.0, 151)
_CORRELATIONS: Final = np.array([float(np.dot(k[1:], k[:-1])) for k in map(_kernel, _SIGMAS)])
"""Correlation of neighbours in white noise after each of these kernels."""


def _scored(
    drawn: NDArray[np.float32], zone: MaskArray, volume: CtVolume, protocol: ScoringProtocol
) -> NDArray[np.float64]:
    """Return the Agatston score of each draw (draw, slice, row, column) within the zone."""
    draw_count, slice_count = drawn.shape[:2]
    planes = drawn.reshape(-1, *drawn.shape[2:])
    dense = (is_calcium(drawn, protocol) & zone).reshape(planes.shape)
    structure = np.zeros((3, 3, 3), dtype=np.bool_)
    # Planes are slices of different draws: nothing is joined between them.
    structure[1] = ndimage.generate_binary_structure(2, protocol.in_plane_connectivity // 4)
    regions, count = ndimage.label(dense, structure)
    at = np.nonzero(dense)
    of_region = regions[at]
    sizes = np.bincount(of_region, minlength=count + 1)
    peaks = np.zeros(count + 1, dtype=np.float32)
    np.maximum.at(peaks, of_region, planes[at])
    plane_of = np.zeros(count + 1, dtype=np.intp)
    plane_of[of_region] = at[0]
    weights = np.array([density_weight(peak, protocol) for peak in peaks.tolist()])
    area_mm2 = volume.geometry.pixel_area_mm2
    is_large = sizes >= protocol.min_lesion_pixels(area_mm2)
    spacing_mm = volume.geometry.spacing_between_slices_mm
    scores = is_large * sizes * weights * area_mm2 * spacing_mm / REFERENCE_SPACING_MM
    of_draw: NDArray[np.float64] = np.zeros(draw_count)
    np.add.at(of_draw, plane_of // slice_count, scores)
    return of_draw
