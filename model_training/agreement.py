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

    def pooled(rows: IndexArray) -> float:
        true_positives, false_positives, false_negatives = table[rows].sum(axis=0)
        return _ratio(
            2 * true_positives,
            2 * true_positives + false_positives + false_negatives,
            "neither the reference nor the model marks a voxel",
        )

    return _estimate(pooled, len(table), patients, bootstrap, min_count=1)


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


def match_lesions(found: MaskArray, reference: MaskArray) -> LesionCounts:
    """Count the lesions of two masks (slice, row, column) of one scan.

    A lesion is a region of the mask connected in 3D by faces (6-connected, as the reference of
    orCaScore was made: orcascore.isi.uu.nl/data). A lesion of the reference is detected if
    the model marks at least one of its voxels; a found lesion is right if at least one of its
    voxels is calcium in the reference. Masks should hold voxels above the threshold only.
    """
    reference_labels, reference_count = ndimage.label(reference)
    found_labels, found_count = ndimage.label(found)
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
    return _pooled_part(
        [(one.detected_lesions, one.reference_lesions) for one in counts],
        "the reference holds no lesion",
        patients,
        bootstrap,
    )


def lesion_precision(
    counts: Sequence[LesionCounts],
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return the part of the model's lesions, over all scans, that the reference holds too."""
    return _pooled_part(
        [(one.right_lesions, one.found_lesions) for one in counts],
        "the model marks no lesion",
        patients,
        bootstrap,
    )


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
    table = np.column_stack(_pairs(reference, measured))
    return _estimate(lambda rows: icc_a1(table[rows]), len(table), patients, bootstrap)


def pearson(
    reference: ArrayLike,
    measured: ArrayLike,
    *,
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Estimate:
    """Return Pearson's correlation; it forgives a constant bias and a constant factor."""
    expected, found = _pairs(reference, measured)

    def correlation(rows: IndexArray) -> float:
        for name, values in (("reference", expected[rows]), ("model", found[rows])):
            if _is_constant(values):
                raise Undefined(f"all scores of the {name} are the same")
        return float(np.corrcoef(expected[rows], found[rows])[0, 1])

    return _estimate(correlation, len(expected), patients, bootstrap)


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
    patients: Sequence[str] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> BlandAltman:
    """Return bias and limits of agreement, bias -/+ 1.96 SD of the differences (SD with n - 1).

    Bland & Altman, Lancet 1986;327:307-310. Score differences grow with the score, so the limits
    are too wide for small scores and too narrow for large ones: look at the plot as well.
    """
    expected, found = _pairs(reference, measured)
    differences = found - expected

    def limit(side: float) -> Callable[[IndexArray], float]:
        def value(rows: IndexArray) -> float:
            chosen = differences[rows]
            spread = 0.0 if side == 0.0 else float(chosen.std(ddof=1))
            return float(chosen.mean()) + side * LIMITS_OF_AGREEMENT_SD * spread

        return value

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

    def kappa(rows: IndexArray) -> float:
        return linear_kappa(_confusion(expected[rows], found[rows], len(categories)))

    return _estimate(kappa, len(expected), patients, bootstrap)


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

    ``confusion[i][j]`` counts scans of reference category ``i`` that the model puts into ``j``.
    """

    icc: Estimate
    pearson: Estimate
    bland_altman: BlandAltman
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


def _estimate(
    statistic: Callable[[IndexArray], float],
    scan_count: int,
    patients: Sequence[str] | None,
    bootstrap: Bootstrap,
    *,
    min_count: int = MIN_COUNT,
) -> Estimate:
    """Evaluate a statistic of rows of the data, and its interval over resampled patients."""
    groups = _rows_by_patient(scan_count, patients)
    n = len(groups)
    try:
        _require_count(n, min_count)
        value = statistic(np.arange(scan_count))
    except Undefined as error:
        return Estimate(None, n, reason=str(error))
    try:
        _require_count(n)
        return Estimate(value, n, _interval(statistic, groups, bootstrap))
    except Undefined as error:
        return Estimate(value, n, reason=str(error))


def _interval(
    statistic: Callable[[IndexArray], float], groups: Sequence[IndexArray], bootstrap: Bootstrap
) -> tuple[float, float]:
    rng = np.random.default_rng(bootstrap.seed)
    values = []
    for drawn in rng.integers(len(groups), size=(bootstrap.resamples, len(groups))):
        try:
            values.append(statistic(np.concatenate([groups[one] for one in drawn])))
        except Undefined:
            continue
    undefined = bootstrap.resamples - len(values)
    if undefined > MAX_UNDEFINED_PART * bootstrap.resamples:
        raise Undefined(
            f"the statistic is undefined in {undefined} of {bootstrap.resamples} resamples: too "
            "few patients differ"
        )
    tail = (1.0 - bootstrap.level) / 2.0
    low, high = np.quantile(values, (tail, 1.0 - tail))
    return float(low), float(high)


def _rows_by_patient(scan_count: int, patients: Sequence[str] | None) -> list[IndexArray]:
    if patients is None:
        return [np.array([row]) for row in range(scan_count)]
    if len(patients) != scan_count:
        raise ValueError(f"There are {scan_count} scans but {len(patients)} names of patients.")
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(patient, []).append(row)
    return [np.array(group) for group in rows.values()]


def _mean_of(values: FloatArray) -> Callable[[IndexArray], float]:
    return lambda rows: float(values[rows].mean())


def _pooled_part(
    parts: Iterable[tuple[int, int]],
    reason: str,
    patients: Sequence[str] | None,
    bootstrap: Bootstrap,
) -> Estimate:
    table = np.array(list(parts), dtype=np.float64).reshape(-1, 2)

    def part(rows: IndexArray) -> float:
        hits, total = table[rows].sum(axis=0)
        return _ratio(hits, total, reason)

    return _estimate(part, len(table), patients, bootstrap, min_count=1)


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
