"""Statistics of agreement between a model and a reference, each with its uncertainty.

Every figure is an :class:`Estimate`: its value, how many patients stand behind it, and a bootstrap
interval from resampling **patients** (all scans of a patient are drawn together). Where the data
cannot answer (too few patients, no variation, one category only) the value is None and ``reason``
says why: a figure that is always 1 or always 0 on such data would only look like evidence.

The intervals are percentile intervals (Efron & Tibshirani, An Introduction to the Bootstrap, 1993,
chapter 13). They stay within the range of the statistic and exist where the agreement is perfect,
where the jackknife behind BCa has no variance; they are too narrow for few patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from calcium_scoring.scoring.categories import RISK_CATEGORIES, risk_category
from calcium_scoring.volume.label_map import MaskArray
from model_training.metrics import VoxelCounts

FloatArray: TypeAlias = NDArray[np.float64]
IndexArray: TypeAlias = NDArray[np.intp]

MIN_COUNT: Final = 3
"""With fewer patients no spread can be told from chance; our choice."""

LIMITS_OF_AGREEMENT_SD: Final = 1.96
"""Bland & Altman, Lancet 1986;327:307-310: 95 % of differences lie within, if they are normal."""

MAX_UNDEFINED_PART: Final = 0.05
"""If the statistic is undefined in more than this part of the resamples (all of one category,
say), leaving those out would bend the interval, so none is given. Our choice."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: number of resamples, seed and level."""

    resamples: int = 2000
    seed: int = 0
    level: float = 0.95


DEFAULT_BOOTSTRAP: Final = Bootstrap()


@dataclass(frozen=True)
class Estimate:
    """One figure. ``n`` counts the patients behind it.

    ``interval`` is (low, high); ``reason`` says why value or interval is None and is None itself
    where both are there.
    """

    value: float | None
    n: int
    interval: tuple[float, float] | None = None
    reason: str | None = None

    def __str__(self) -> str:
        """Return ``0.948 (0.921 to 0.967, n = 60)``, or why there is no figure."""
        if self.value is None:
            return f"not defined (n = {self.n}): {self.reason}"
        if self.interval is None:
            return f"{self.value:.3f} (n = {self.n}; no interval: {self.reason})"
        low, high = self.interval
        return f"{self.value:.3f} ({low:.3f} to {high:.3f}, n = {self.n})"


class Undefined(ValueError):
    """The statistic has no value, or one that says nothing, on these data."""


# Voxels and lesions


def voxel_f1(
    counts: Sequence[VoxelCounts],
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return the F1 of the voxels of all scans together, which is also their Dice coefficient.

    Scans with much calcium weigh more. ``counts`` has one entry a scan.
    """
    table = np.array(
        [(one.true_positives, one.false_positives, one.false_negatives) for one in counts],
        dtype=np.float64,
    ).reshape(-1, 3)

    return _estimate(
        _pooled(
            2.0 * table[:, 0],
            2.0 * table[:, 0] + table[:, 1] + table[:, 2],
            "neither the reference nor the model marks a voxel",
        ),
        len(table),
        patients,
        bootstrap,
        min_count=1,
    )


def voxel_precision(
    counts: Sequence[VoxelCounts],
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return the part of the voxels marked by the model, over all scans, that are calcium."""
    return pooled_part(
        [(one.true_positives, one.true_positives + one.false_positives) for one in counts],
        "the model marks no voxel",
        patients=patients,
        bootstrap=bootstrap,
    )


def voxel_sensitivity(
    counts: Sequence[VoxelCounts],
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return the part of the reference's voxels, over all scans, that the model marks."""
    return pooled_part(
        [(one.true_positives, one.true_positives + one.false_negatives) for one in counts],
        "the reference holds no calcium",
        patients=patients,
        bootstrap=bootstrap,
    )


def mean_dice(
    counts: Sequence[VoxelCounts],
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return the mean over scans of each scan's Dice coefficient; every scan weighs the same.

    Dice, Ecology 1945;26:297-302. A scan without a voxel in either mask has none (0 / 0) and is
    left out, also from ``n``.
    """
    marked = [
        index
        for index, one in enumerate(counts)
        if one.true_positives + one.false_positives + one.false_negatives
    ]
    dice = np.array([counts[index].f1 for index in marked])
    kept = None if patients is None else [patients[index] for index in marked]
    return _estimate(_mean_of(dice), len(dice), kept, bootstrap, min_count=1)


@dataclass(frozen=True)
class LesionCounts:
    """Lesions of one scan, counted on both sides.

    The two hits may differ: one found region may cover two lesions of the reference.
    """

    reference_lesions: int
    detected_lesions: int
    found_lesions: int
    right_lesions: int

    def __add__(self, other: LesionCounts) -> LesionCounts:
        return LesionCounts(
            self.reference_lesions + other.reference_lesions,
            self.detected_lesions + other.detected_lesions,
            self.found_lesions + other.found_lesions,
            self.right_lesions + other.right_lesions,
        )


LESION_NEIGHBOURS: Final = np.zeros((3, 3, 3), dtype=np.bool_)
"""Which voxels continue a lesion: the eight around it in its slice, and the ones right above and
below. As a lesion of a report is formed, whatever its artery."""
LESION_NEIGHBOURS[1] = True
LESION_NEIGHBOURS[:, 1, 1] = True
LESION_NEIGHBOURS.setflags(write=False)


def match_lesions(found: MaskArray, reference: MaskArray) -> LesionCounts:
    """Count the lesions of two masks (slice, row, column) of one scan.

    A lesion is what a report counts (:class:`calcium_scoring.scoring.lesions.Lesion`), whatever
    its artery: connected by sides and corners within a slice, and from slice to slice where a
    pixel continues. A lesion of the reference is detected if the model marks at least one of its
    voxels; a found lesion is right if at least one of its voxels is calcium in the reference.
    Masks should hold only voxels that count for the score.
    """
    # Nearly all of a scan is empty: only the box that holds both masks is gone through.
    boxes = ndimage.find_objects((found | reference).view(np.uint8))
    if not boxes:
        return LesionCounts(0, 0, 0, 0)
    found, reference = found[boxes[0]], reference[boxes[0]]
    reference_labels, reference_count = ndimage.label(reference, LESION_NEIGHBOURS)
    found_labels, found_count = ndimage.label(found, LESION_NEIGHBOURS)
    shared = np.asarray(found & reference)
    return LesionCounts(
        reference_lesions=int(reference_count),
        detected_lesions=int(np.unique(reference_labels[shared]).size),
        found_lesions=int(found_count),
        right_lesions=int(np.unique(found_labels[shared]).size),
    )


def lesion_sensitivity(
    counts: Sequence[LesionCounts],
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return the part of the reference's lesions, over all scans, that the model detects."""
    return pooled_part(
        [(one.detected_lesions, one.reference_lesions) for one in counts],
        "the reference holds no lesion",
        patients=patients,
        bootstrap=bootstrap,
    )


def lesion_precision(
    counts: Sequence[LesionCounts],
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return the part of the model's lesions, over all scans, that the reference holds too."""
    return pooled_part(
        [(one.right_lesions, one.found_lesions) for one in counts],
        "the model marks no lesion",
        patients=patients,
        bootstrap=bootstrap,
    )


def pooled_part(
    parts: Iterable[tuple[float, float]],
    undefined_because: str,
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return the sum of the first numbers over the sum of the second ones, one pair a scan.

    Parameters
    ----------
    parts
        What of a scan is meant, and all of its kind: voxels, lesions, volumes.
    undefined_because
        Said where there is nothing of the kind in any scan.
    patients, bootstrap
        As for the other figures.
    """
    table = np.array(list(parts), dtype=np.float64).reshape(-1, 2)
    statistic = _pooled(table[:, 0], table[:, 1], undefined_because)
    return _estimate(statistic, len(table), patients, bootstrap, min_count=1)


# Scores


def icc_a1(ratings: ArrayLike) -> float:
    """Return the intraclass correlation ICC(A,1) of a table (subject, rater).

    Two-way model, absolute agreement, single measurement: McGraw & Wong, Psychol Methods
    1996;1:30-46; the same number as ICC(2,1) of Shrout & Fleiss, Psychol Bull
    1979;86:420-428. With MS the mean squares of rows (subjects), columns (raters) and error,
    ``(MSR - MSE) / (MSR + (k - 1) MSE + k / n (MSC - MSE))``. It may be negative.

    Raises
    ------
    Undefined
        Fewer than three subjects or two raters, or all ratings are the same.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise Undefined(f"ratings are a table of subjects and raters, not {table.shape}")
    n, k = table.shape
    _require_count(n)
    if _is_constant(table):
        raise Undefined("all scores are the same")
    grand_mean = table.mean()
    subjects, raters = table.mean(axis=1), table.mean(axis=0)
    ms_rows = k * float(((subjects - grand_mean) ** 2).sum()) / (n - 1)
    ms_columns = n * float(((raters - grand_mean) ** 2).sum()) / (k - 1)
    residual = table - subjects[:, np.newaxis] - raters + grand_mean
    ms_error = float((residual**2).sum()) / ((n - 1) * (k - 1))
    denominator = ms_rows + (k - 1) * ms_error + k / n * (ms_columns - ms_error)
    return _ratio(ms_rows - ms_error, denominator, "the mean squares cancel out")


def score_icc(
    reference: ArrayLike,
    measured: ArrayLike,
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return :func:`icc_a1` of reference and model as the two raters."""
    expected, found = _pairs(reference, measured)
    table = np.column_stack((expected, found))

    def resampled(weights: FloatArray) -> FloatArray:
        n, means, spreads, shared = _moments(weights, table)
        # Mean squares of icc_a1 for two raters; squares about the mean of each subject's pair.
        ms_rows = (spreads.sum(axis=1) / 2.0 + shared) / (n - 1.0)
        ms_columns = n * (means[:, 0] - means[:, 1]) ** 2 / 2.0
        ms_error = (spreads.sum(axis=1) / 2.0 - shared) / (n - 1.0)
        values = _ratios(ms_rows - ms_error, ms_rows + ms_error + 2.0 / n * (ms_columns - ms_error))
        varies = _varies(weights, expected) | _varies(weights, found)
        is_apart = ~np.isclose(means[:, 0], means[:, 1], rtol=0.0, atol=1e-12)
        return np.where(varies | is_apart, values, np.nan)

    return _estimate(_Statistic(lambda: icc_a1(table), resampled), len(table), patients, bootstrap)


def pearson(
    reference: ArrayLike,
    measured: ArrayLike,
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return Pearson's correlation; it forgives a constant bias and a constant factor."""
    expected, found = _pairs(reference, measured)
    table = np.column_stack((expected, found))

    def value() -> float:
        for name, scores in (("reference", expected), ("model", found)):
            if _is_constant(scores):
                raise Undefined(f"all scores of the {name} are the same")
        return float(np.corrcoef(expected, found)[0, 1])

    def resampled(weights: FloatArray) -> FloatArray:
        _, _, spreads, shared = _moments(weights, table)
        varies = _varies(weights, expected) & _varies(weights, found)
        return np.where(varies, _ratios(shared, np.sqrt(spreads.prod(axis=1))), np.nan)

    return _estimate(_Statistic(value, resampled), len(expected), patients, bootstrap)


@dataclass(frozen=True)
class BlandAltman:
    """Mean difference (model minus reference) and the limits within which 95 % should lie."""

    bias: Estimate
    lower_limit: Estimate
    upper_limit: Estimate


def bland_altman(
    reference: ArrayLike,
    measured: ArrayLike,
    *,
    is_relative: bool = False,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> BlandAltman:
    """Return bias and limits of agreement, bias -/+ 1.96 SD of the differences (SD with n - 1).

    Bland & Altman, Lancet 1986;327:307-310. Score differences grow with the score, so the limits
    are too wide for small scores and too narrow for large ones: look at the plot as well, and at
    the differences with ``is_relative``, which are per cent of the mean of both scores (a score
    where the other is 0 differs by 200 %). Of those, scans where both are 0 are left out, also
    from ``n``.
    """
    expected, found = _pairs(reference, measured)
    differences = found - expected
    if is_relative:
        has_score = (expected + found) > 0.0
        means = (expected + found)[has_score] / 2.0
        differences = 100.0 * differences[has_score] / means
        if patients is not None:
            patients = [patients[row] for row in np.flatnonzero(has_score).tolist()]

    def limit(side: float) -> _Statistic:
        def value() -> float:
            spread = 0.0 if side == 0.0 else float(differences.std(ddof=1))
            return float(differences.mean()) + side * LIMITS_OF_AGREEMENT_SD * spread

        def resampled(weights: FloatArray) -> FloatArray:
            n, means, spreads, _ = _moments(weights, differences[:, np.newaxis])
            deviations = np.sqrt(np.maximum(spreads[:, 0], 0.0) / (n - 1.0))
            limits: FloatArray = means[:, 0] + side * LIMITS_OF_AGREEMENT_SD * deviations
            return limits

        return _Statistic(value, resampled)

    bias, lower_limit, upper_limit = (
        _estimate(limit(side), len(differences), patients, bootstrap) for side in (0.0, -1.0, 1.0)
    )
    return BlandAltman(bias, lower_limit, upper_limit)


# Risk categories


def confusion_matrix(
    reference: Sequence[str], measured: Sequence[str], categories: Sequence[str] = RISK_CATEGORIES
) -> NDArray[np.int64]:
    """Return how many scans of each reference category (row) the model puts into each (column)."""
    rows, columns = _category_pairs(reference, measured, categories)
    return _confusion(rows, columns, len(categories))


def linear_kappa(confusion: ArrayLike) -> float:
    """Return the linearly weighted kappa of a confusion matrix (reference, model).

    Cohen, Psychol Bull 1968;70:213-220, with disagreement weights proportional to the distance
    between the (ordered) categories: ``1 - observed / expected`` weighted disagreement.

    Raises
    ------
    Undefined
        The matrix is empty, or all scans of the reference are of one category: kappa would be 0
        (or 0 / 0) whatever the model says.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    total = counts.sum()
    if not total:
        raise Undefined("there is no scan")
    in_reference = counts.sum(axis=1)
    if np.count_nonzero(in_reference) < 2:
        raise Undefined("all scans of the reference are in one category")
    places = np.arange(len(counts))
    weights = np.abs(places[:, np.newaxis] - places)
    expected = np.outer(in_reference, counts.sum(axis=0)) / total
    return 1.0 - float((weights * counts).sum() / (weights * expected).sum())


def category_kappa(
    reference: Sequence[str],
    measured: Sequence[str],
    *,
    categories: Sequence[str] = RISK_CATEGORIES,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return :func:`linear_kappa` over ordered categories, by default the five risk categories."""
    expected, found = _category_pairs(reference, measured, categories)
    size = len(categories)
    of_scan = np.zeros((len(expected), size * size))
    of_scan[np.arange(len(expected)), expected * size + found] = 1.0

    def resampled(weights: FloatArray) -> FloatArray:
        counts = (weights @ of_scan).reshape(-1, size, size)
        in_reference, in_model = counts.sum(axis=2), counts.sum(axis=1)
        apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        observed = (apart * counts).sum(axis=(1, 2))
        expected_by_chance = np.einsum("bi,ij,bj->b", in_reference, apart, in_model)
        kappas = 1.0 - _ratios(observed * weights.sum(axis=1), expected_by_chance)
        return np.where(np.count_nonzero(in_reference, axis=1) < 2, np.nan, kappas)

    return _estimate(
        _Statistic(lambda: linear_kappa(_confusion(expected, found, size)), resampled),
        len(expected),
        patients,
        bootstrap,
    )


def category_accuracy(
    reference: Sequence[str],
    measured: Sequence[str],
    *,
    categories: Sequence[str] = RISK_CATEGORIES,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return the part of the scans that the model puts into the category of the reference."""
    expected, found = _category_pairs(reference, measured, categories)
    is_right = (expected == found).astype(np.float64)
    return _estimate(_mean_of(is_right), len(is_right), patients, bootstrap, min_count=1)


# All of them


@dataclass(frozen=True)
class ScoreAgreement:
    """How well Agatston scores and their risk categories agree.

    ``relative_bland_altman`` is in per cent of the mean of both scores. ``confusion[i][j]`` counts
    scans of reference category ``i`` that the model puts into ``j``.
    """

    icc: Estimate
    pearson: Estimate
    bland_altman: BlandAltman
    relative_bland_altman: BlandAltman
    kappa: Estimate
    category_accuracy: Estimate
    categories: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def score_agreement(
    reference: Sequence[float],
    measured: Sequence[float],
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> ScoreAgreement:
    """Compare unrounded Agatston scores, one pair a scan.

    ``patients`` names the patient of each scan; by default each scan is its own patient.
    """
    expected = [risk_category(score) for score in reference]
    found = [risk_category(score) for score in measured]
    return ScoreAgreement(
        icc=score_icc(reference, measured, patients=patients, bootstrap=bootstrap),
        pearson=pearson(reference, measured, patients=patients, bootstrap=bootstrap),
        bland_altman=bland_altman(reference, measured, patients=patients, bootstrap=bootstrap),
        relative_bland_altman=bland_altman(
            reference, measured, is_relative=True, patients=patients, bootstrap=bootstrap
        ),
        kappa=category_kappa(expected, found, patients=patients, bootstrap=bootstrap),
        category_accuracy=category_accuracy(
            expected, found, patients=patients, bootstrap=bootstrap
        ),
        categories=RISK_CATEGORIES,
        confusion=tuple(
            tuple(int(count) for count in row) for row in confusion_matrix(expected, found)
        ),
    )


# Bootstrap


@dataclass(frozen=True)
class _Statistic:
    """A figure of all scans, and of resamples of them.

    ``resampled`` takes how often each scan was drawn, (resample, scan), and gives one value a
    resample, NaN where it is undefined. With every scan drawn once it gives what ``value`` gives,
    which raises :class:`Undefined` with the reason instead.
    """

    value: Callable[[], float]
    resampled: Callable[[FloatArray], FloatArray]


def _estimate(
    statistic: _Statistic,
    scan_count: int,
    patients: Sequence[str] | None,
    bootstrap: Bootstrap,
    *,
    min_count: int = MIN_COUNT,
) -> Estimate:
    """Evaluate a statistic of all scans, and its interval over resampled patients."""
    patient_of_scan = _patient_of_scan(scan_count, patients)
    n = int(patient_of_scan.max(initial=-1)) + 1
    try:
        _require_count(n, min_count)
        value = statistic.value()
    except Undefined as error:
        return Estimate(None, n, reason=str(error))
    try:
        _require_count(n)
        return Estimate(value, n, _interval(statistic, patient_of_scan, n, bootstrap))
    except Undefined as error:
        return Estimate(value, n, reason=str(error))


def _interval(
    statistic: _Statistic, patient_of_scan: IndexArray, n: int, bootstrap: Bootstrap
) -> tuple[float, float]:
    rng = np.random.default_rng(bootstrap.seed)
    drawn = rng.integers(n, size=(bootstrap.resamples, n))
    times_drawn = np.zeros((bootstrap.resamples, n))
    np.add.at(times_drawn, (np.arange(bootstrap.resamples)[:, np.newaxis], drawn), 1.0)
    values = statistic.resampled(times_drawn[:, patient_of_scan])
    values = values[np.isfinite(values)]
    undefined = bootstrap.resamples - len(values)
    if undefined > MAX_UNDEFINED_PART * bootstrap.resamples:
        raise Undefined(
            f"the statistic is undefined in {undefined} of {bootstrap.resamples} resamples: too "
            "few patients differ"
        )
    tail = (1.0 - bootstrap.level) / 2.0
    low, high = np.quantile(values, (tail, 1.0 - tail))
    return float(low), float(high)


def _patient_of_scan(scan_count: int, patients: Sequence[str] | None) -> IndexArray:
    if patients is None:
        return np.arange(scan_count)
    if len(patients) != scan_count:
        raise ValueError(f"There are {scan_count} scans but {len(patients)} names of patients.")
    number: dict[str, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in patients], dtype=np.intp)


def _pooled(parts: FloatArray, totals: FloatArray, undefined_because: str) -> _Statistic:
    """Return the statistic "sum of the parts over sum of the totals"."""
    return _Statistic(
        lambda: _ratio(float(parts.sum()), float(totals.sum()), undefined_because),
        lambda weights: _ratios(weights @ parts, weights @ totals),
    )


def _mean_of(values: FloatArray) -> _Statistic:
    return _Statistic(
        lambda: float(values.mean()), lambda weights: weights @ values / weights.sum(axis=1)
    )


def _moments(
    weights: FloatArray, table: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return moments of each resample of a table (scan, column).

    The number of scans, the means of the columns, their sums of squares about these means, and the
    sum of products of the first and the last column about them.
    """
    # About the mean of all scans, so that little is lost when squares are subtracted.
    centre = table.mean(axis=0)
    centred = table - centre
    n = weights.sum(axis=1)
    means = weights @ centred / n[:, np.newaxis]
    spreads = weights @ centred**2 - n[:, np.newaxis] * means**2
    products = weights @ (centred[:, 0] * centred[:, -1]) - n * means[:, 0] * means[:, -1]
    return n, means + centre, spreads, products


def _varies(weights: FloatArray, values: FloatArray) -> NDArray[np.bool_]:
    """Tell of each resample whether the values drawn are not all the same."""
    is_drawn = weights > 0.0
    highest = np.where(is_drawn, values, -np.inf).max(axis=1)
    lowest = np.where(is_drawn, values, np.inf).min(axis=1)
    varies: NDArray[np.bool_] = highest > lowest
    return varies


def _ratios(numerators: FloatArray, denominators: FloatArray) -> FloatArray:
    """Return one ratio a resample, NaN over 0."""
    is_defined = denominators != 0.0
    ratios: FloatArray = np.where(
        is_defined, numerators / np.where(is_defined, denominators, 1.0), np.nan
    )
    return ratios


def _pairs(reference: ArrayLike, measured: ArrayLike) -> tuple[FloatArray, FloatArray]:
    expected = np.asarray(reference, dtype=np.float64)
    found = np.asarray(measured, dtype=np.float64)
    if expected.ndim != 1 or expected.shape != found.shape:
        raise ValueError(f"Scores come in pairs, not as {expected.shape} and {found.shape}.")
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        raise ValueError("Scores must be finite; leave out scans that have none.")
    return expected, found


def _category_pairs(
    reference: Sequence[str], measured: Sequence[str], categories: Sequence[str]
) -> tuple[IndexArray, IndexArray]:
    if len(reference) != len(measured):
        raise ValueError(
            f"Categories come in pairs, not as {len(reference)} and {len(measured)} values."
        )
    place = {category: index for index, category in enumerate(categories)}
    unknown = {*reference, *measured} - place.keys()
    if unknown:
        raise ValueError(f"{sorted(unknown)} are none of the categories {list(categories)}.")
    return (
        np.array([place[one] for one in reference], dtype=np.intp),
        np.array([place[one] for one in measured], dtype=np.intp),
    )


def _confusion(rows: IndexArray, columns: IndexArray, size: int) -> NDArray[np.int64]:
    counts = np.bincount(rows * size + columns, minlength=size * size)
    return counts.reshape(size, size).astype(np.int64)


def _is_constant(values: FloatArray) -> bool:
    return bool(np.ptp(values) == 0.0)


def _ratio(numerator: float, denominator: float, reason: str) -> float:
    if denominator == 0:
        raise Undefined(reason)
    return float(numerator) / float(denominator)


def _require_count(n: int, min_count: int = MIN_COUNT) -> None:
    if n < min_count:
        raise Undefined(f"there are {n} patients; at least {min_count} are needed")
