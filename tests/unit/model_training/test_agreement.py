"""Statistics of agreement: published examples, laws, and data that cannot answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from calcium_scoring.scoring.categories import risk_category
from model_training.agreement import (
    Bootstrap,
    Estimate,
    LesionCounts,
    Undefined,
    bland_altman,
    category_accuracy,
    category_kappa,
    confusion_matrix,
    icc_a1,
    lesion_precision,
    lesion_sensitivity,
    linear_kappa,
    match_lesions,
    mean_dice,
    pearson,
    pooled_part,
    score_agreement,
    score_icc,
    voxel_f1,
    voxel_precision,
    voxel_sensitivity,
)
from model_training.metrics import VoxelCounts

QUICK = Bootstrap(resamples=200)

SHROUT_AND_FLEISS = [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7],
]
"""Psychol Bull 1979;86:420-428, table 2: six subjects, four judges."""

SCORES = [0.0, 4.0, 35.0, 120.0, 250.0, 610.0, 1500.0, 80.0]


def value_of(estimate: Estimate) -> float:
    assert estimate.value is not None, estimate.reason
    return estimate.value


def test_icc_of_shrout_and_fleiss_is_0_29() -> None:
    # Their table 4: ICC(2,1) = 0.29, from MSR 11.24, MSC 32.49, MSE 1.02.
    expected = (11.242 - 1.019) / (11.242 + 3 * 1.019 + 4 / 6 * (32.486 - 1.019))
    assert icc_a1(SHROUT_AND_FLEISS) == pytest.approx(0.29, abs=0.005)
    assert icc_a1(SHROUT_AND_FLEISS) == pytest.approx(expected, abs=1e-3)


def test_linear_kappa_of_a_table_worked_by_hand() -> None:
    # 10 scans, 3 categories; weights |i - j|.
    confusion = [[3, 1, 0], [1, 2, 0], [0, 1, 2]]
    # Observed: 3 cells one step off -> 3. Expected: rows 4, 3, 3; columns 4, 4, 2;
    # (4*4*1 + 4*2*2 + 3*4*1 + 3*2*1 + 3*4*2 + 3*4*1) / 10 = (16+16+12+6+24+12) / 10 = 8.6
    assert linear_kappa(confusion) == pytest.approx(1 - 3 / 8.6)


def test_linear_kappa_of_two_categories_is_cohens_kappa() -> None:
    # Cohen's kappa of [[20, 5], [10, 15]]: po = 0.7, pe = 0.5, kappa = 0.4.
    assert linear_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)


def test_perfect_agreement_is_one_with_an_interval_of_no_width() -> None:
    agreement = score_agreement(SCORES, SCORES, bootstrap=QUICK)

    for figure in (agreement.icc, agreement.pearson, agreement.kappa, agreement.category_accuracy):
        assert figure.value == pytest.approx(1.0)
        assert figure.interval == pytest.approx((1.0, 1.0))
        assert figure.n == 8
        assert figure.reason is None
    assert agreement.bland_altman.bias.value == 0.0
    assert agreement.bland_altman.upper_limit.value == 0.0
    assert np.trace(agreement.confusion) == 8


def test_constant_bias_lowers_the_icc_but_not_pearson() -> None:
    biased = [score + 300.0 for score in SCORES]

    assert value_of(pearson(SCORES, biased, bootstrap=QUICK)) == pytest.approx(1.0)
    assert value_of(score_icc(SCORES, biased, bootstrap=QUICK)) < 0.95
    assert bland_altman(SCORES, biased, bootstrap=QUICK).bias.value == pytest.approx(300.0)


def test_constant_factor_lowers_the_icc_but_not_pearson() -> None:
    halved = [score / 2 for score in SCORES]

    assert value_of(pearson(SCORES, halved, bootstrap=QUICK)) == pytest.approx(1.0)
    assert value_of(score_icc(SCORES, halved, bootstrap=QUICK)) < 0.9


def test_icc_does_not_depend_on_who_is_called_the_reference() -> None:
    measured = [0.0, 10.0, 30.0, 150.0, 240.0, 500.0, 1700.0, 60.0]
    assert value_of(score_icc(SCORES, measured, bootstrap=QUICK)) == pytest.approx(
        value_of(score_icc(measured, SCORES, bootstrap=QUICK))
    )


def test_limits_of_agreement_are_1_96_standard_deviations_from_the_bias() -> None:
    result = bland_altman([100.0, 200.0, 300.0], [101.0, 202.0, 303.0], bootstrap=QUICK)

    # Differences 1, 2, 3: mean 2, SD 1.
    assert result.bias.value == pytest.approx(2.0)
    assert result.lower_limit.value == pytest.approx(0.04)
    assert result.upper_limit.value == pytest.approx(3.96)


def test_confusion_matrix_has_the_reference_in_its_rows() -> None:
    matrix = confusion_matrix(["0", "0", ">400"], ["0", "1-10", "101-400"])

    assert matrix[0].tolist() == [1, 1, 0, 0, 0]
    assert matrix[4].tolist() == [0, 0, 0, 1, 0]
    accuracy = category_accuracy(["0", "0", ">400"], ["0", "1-10", "101-400"], bootstrap=QUICK)
    assert accuracy.value == pytest.approx(1 / 3)


def test_near_miss_costs_less_kappa_than_a_far_one() -> None:
    reference = ["0", "1-10", "11-100", "101-400", ">400", ">400"]
    near = [*reference[:-1], "101-400"]
    far = [*reference[:-1], "0"]

    assert value_of(category_kappa(reference, near, bootstrap=QUICK)) > value_of(
        category_kappa(reference, far, bootstrap=QUICK)
    )


def test_f1_pools_voxels_and_mean_dice_pools_scans() -> None:
    counts = [VoxelCounts(90, 10, 10), VoxelCounts(0, 0, 10), VoxelCounts(0, 0, 0)]

    # 2 x 90 / (2 x 90 + 10 + 20)
    assert voxel_f1(counts, bootstrap=QUICK).value == pytest.approx(180 / 210)
    # 0.9 and 0; the empty scan has no Dice.
    dice = mean_dice(counts, bootstrap=QUICK)
    assert dice.value == pytest.approx(0.45)
    assert dice.n == 2


def test_region_that_covers_two_lesions_detects_both_and_counts_once() -> None:
    reference = np.zeros((1, 5, 9), dtype=bool)
    reference[0, 2, [1, 5]] = True
    found = np.zeros_like(reference)
    found[0, 2, 1:6] = True  # covers both
    found[0, 4, 8] = True  # noise

    counts = match_lesions(found, reference)

    assert counts == LesionCounts(2, 2, 2, 1)
    assert lesion_sensitivity([counts], bootstrap=QUICK).value == 1.0
    assert lesion_precision([counts], bootstrap=QUICK).value == 0.5
    assert counts + counts == LesionCounts(4, 4, 4, 2)


@pytest.mark.parametrize(
    ("voxels", "lesions"),
    [
        (((0, 0, 0), (0, 1, 1)), 1),  # a corner within a slice
        (((0, 1, 1), (1, 1, 1)), 1),  # the same pixel of the next slice
        (((0, 0, 1), (1, 1, 1)), 2),  # a neighbouring pixel of the next slice
    ],
)
def test_lesions_are_joined_as_a_report_joins_them(
    voxels: tuple[tuple[int, int, int], ...], lesions: int
) -> None:
    mask = np.zeros((2, 3, 3), dtype=bool)
    for voxel in voxels:
        mask[voxel] = True

    assert match_lesions(mask, mask).reference_lesions == lesions


def test_interval_contains_the_value_and_comes_again_with_the_same_seed() -> None:
    rng = np.random.default_rng(7)
    reference = rng.lognormal(4.0, 1.5, 60)
    measured = reference * rng.normal(1.0, 0.2, 60)

    first = score_icc(reference, measured, bootstrap=QUICK)
    again = score_icc(reference, measured, bootstrap=QUICK)
    other = score_icc(reference, measured, bootstrap=Bootstrap(resamples=200, seed=1))

    assert first == again
    assert first.interval is not None
    assert first.interval[0] < value_of(first) < first.interval[1]
    assert other.interval != first.interval


def test_interval_of_a_proportion_is_about_the_binomial_one() -> None:
    reference = ["0"] * 50 + ["1-10"] * 50
    measured = ["0"] * 100

    low, high = category_accuracy(reference, measured).interval or (0.0, 0.0)

    # 0.5 -/+ 1.96 sqrt(0.25 / 100)
    assert low == pytest.approx(0.402, abs=0.02)
    assert high == pytest.approx(0.598, abs=0.02)


def test_scans_of_one_patient_are_drawn_together() -> None:
    # Ten patients with ten equal scans each are ten observations, not a hundred.
    patients = [str(patient) for patient in range(10) for _ in range(10)]
    reference = ["0" if int(patient) < 5 else "1-10" for patient in patients]
    measured = ["0"] * 100

    by_patient = category_accuracy(reference, measured, patients=patients, bootstrap=QUICK)
    by_scan = category_accuracy(reference, measured, bootstrap=QUICK)

    assert (by_patient.n, by_scan.n) == (10, 100)
    assert by_patient.interval is not None
    assert by_scan.interval is not None
    assert np.diff(by_patient.interval) > 2 * np.diff(by_scan.interval)


@pytest.mark.parametrize("statistic", [score_icc, pearson])
def test_two_patients_have_no_correlation(statistic: type) -> None:
    figure = statistic([1.0, 2.0], [1.0, 2.0], bootstrap=QUICK)

    assert (figure.value, figure.interval, figure.n) == (None, None, 2)
    assert "2 patients; at least 3" in figure.reason


def test_scores_that_are_all_the_same_have_no_correlation() -> None:
    icc = score_icc([0.0] * 5, [0.0] * 5, bootstrap=QUICK)
    correlation = pearson([0.0, 1.0, 2.0], [4.0, 4.0, 4.0], bootstrap=QUICK)

    assert (icc.value, icc.reason) == (None, "all scores are the same")
    assert (correlation.value, correlation.reason) == (
        None,
        "all scores of the model are the same",
    )


def test_reference_of_one_category_has_no_kappa() -> None:
    figure = category_kappa(["0"] * 5, ["0"] * 4 + ["1-10"], bootstrap=QUICK)

    assert figure.value is None
    assert figure.reason == "all scans of the reference are in one category"
    assert category_accuracy(["0"] * 5, ["0"] * 5, bootstrap=QUICK).value == 1.0


def test_value_without_enough_varied_patients_comes_without_interval() -> None:
    # One scan of four differs: (3/4)^4 = 32 % of the resamples hold one category only.
    figure = category_kappa(["0", "0", "0", "1-10"], ["0", "0", "0", "1-10"], bootstrap=QUICK)

    assert figure.value == pytest.approx(1.0)
    assert figure.interval is None
    assert figure.reason is not None
    assert "undefined in" in figure.reason


def test_nothing_marked_anywhere_is_not_a_perfect_f1() -> None:
    nothing = [VoxelCounts(0, 0, 0)] * 4

    assert voxel_f1(nothing, bootstrap=QUICK).value is None
    assert mean_dice(nothing, bootstrap=QUICK).value is None
    assert lesion_sensitivity([LesionCounts(0, 0, 1, 0)], bootstrap=QUICK).value is None
    assert lesion_precision([LesionCounts(1, 0, 0, 0)], bootstrap=QUICK).value is None
    assert voxel_f1([], bootstrap=QUICK).n == 0


def test_agreement_is_written_as_plain_json() -> None:
    agreement = score_agreement([0.0, 0.0, 0.0], [0.0, 0.0, 5.0], bootstrap=QUICK)

    stored = json.loads(json.dumps(agreement.as_dict(), allow_nan=False))

    assert stored["kappa"]["value"] is None
    assert stored["confusion"][0] == [2, 1, 0, 0, 0]


def test_figure_reads_as_value_interval_and_n() -> None:
    assert str(Estimate(0.9484, 60, (0.921, 0.967))) == "0.948 (0.921 to 0.967, n = 60)"
    assert str(Estimate(None, 2, reason="too few")) == "not defined (n = 2): too few"
    assert "no interval: few" in str(Estimate(1.0, 2, reason="few"))


def test_unusable_input_is_refused() -> None:
    with pytest.raises(ValueError, match="come in pairs"):
        score_icc([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="must be finite"):
        pearson([1.0, 2.0, float("nan")], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="none of the categories"):
        category_kappa(["0", "low"], ["0", "0"])
    with pytest.raises(ValueError, match="names of patients"):
        score_icc(SCORES, SCORES, patients=["one"])
    with pytest.raises(Undefined, match="subjects and raters"):
        icc_a1([1.0, 2.0, 3.0])


@pytest.mark.parametrize("is_by_patient", [False, True])
def test_intervals_are_those_of_drawing_scans_one_by_one(is_by_patient: bool) -> None:
    rng = np.random.default_rng(3)
    reference = rng.lognormal(4.0, 1.5, 24)
    measured = reference * rng.normal(1.05, 0.3, 24)
    patients = [f"p{index // 2 if is_by_patient else index}" for index in range(24)]
    rows = [
        [row for row, patient in enumerate(patients) if patient == name]
        for name in dict.fromkeys(patients)
    ]
    expected = [risk_category(score) for score in reference]
    found = [risk_category(score) for score in measured]

    def by_hand(statistic: Callable[[list[int]], float]) -> tuple[float, float]:
        drawn = np.random.default_rng(QUICK.seed).integers(len(rows), size=(200, len(rows)))
        values = [statistic([row for one in draw for row in rows[one]]) for draw in drawn]
        low, high = np.quantile(values, (0.025, 0.975))
        return float(low), float(high)

    agreement = score_agreement(
        reference.tolist(), measured.tolist(), patients=patients, bootstrap=QUICK
    )
    table, differences = np.column_stack((reference, measured)), measured - reference

    for estimate, statistic in (
        (agreement.icc, lambda chosen: icc_a1(table[chosen])),
        (
            agreement.pearson,
            lambda chosen: float(np.corrcoef(reference[chosen], measured[chosen])[0, 1]),
        ),
        (agreement.bland_altman.bias, lambda chosen: float(differences[chosen].mean())),
        (
            agreement.bland_altman.upper_limit,
            lambda chosen: float(
                differences[chosen].mean() + 1.96 * differences[chosen].std(ddof=1)
            ),
        ),
        (
            agreement.kappa,
            lambda chosen: linear_kappa(
                confusion_matrix([expected[one] for one in chosen], [found[one] for one in chosen])
            ),
        ),
        (
            agreement.category_accuracy,
            lambda chosen: float(np.mean([expected[one] == found[one] for one in chosen])),
        ),
    ):
        assert estimate.interval == pytest.approx(by_hand(statistic), rel=1e-9)


def test_relative_differences_are_of_the_mean_of_both_and_leave_out_zeros() -> None:
    result = bland_altman(
        [0.0, 0.0, 100.0, 90.0], [0.0, 5.0, 100.0, 110.0], is_relative=True, bootstrap=QUICK
    )

    # 200 %, 0 % and 20 / 100
    assert result.bias.n == 3
    assert result.bias.value == pytest.approx((200.0 + 0.0 + 20.0) / 3.0)


def test_precision_and_sensitivity_pool_the_voxels_of_all_scans() -> None:
    counts = [VoxelCounts(90, 10, 30), VoxelCounts(0, 20, 0)]

    assert voxel_precision(counts, bootstrap=QUICK).value == pytest.approx(90 / 120)
    assert voxel_sensitivity(counts, bootstrap=QUICK).value == pytest.approx(90 / 120)


def test_part_of_nothing_is_not_defined() -> None:
    part = pooled_part([(0.0, 0.0), (0.0, 0.0)], "no scan holds any", bootstrap=QUICK)

    assert (part.value, part.n, part.reason) == (None, 2, "no scan holds any")
