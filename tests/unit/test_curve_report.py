"""A learning curve claims no more than its trials show."""

import numpy as np
import pytest
from scipy import stats

from finetext.experiments import CurveTrial, LearningCurve, curve_verdict
from finetext.metric_names import SELECTION_METRICS
from finetext.training import TrainConfig


def curve_of(table, tmp_path):
    """Return a curve from `{size: [(model, baseline), …]}`."""
    trials = [
        CurveTrial(
            size,
            n,
            size - 1,
            1,
            100,
            1.0,
            dict.fromkeys(SELECTION_METRICS, m),
            dict.fromkeys(SELECTION_METRICS, b),
            1,
            0,
            0,
            0,
        )
        for size, pairs in table.items()
        for n, (m, b) in enumerate(pairs, 1)
    ]
    return LearningCurve(tmp_path, TrainConfig(), "data", False, tuple(trials))


AHEAD = [(0.90, 0.80), (0.91, 0.80), (0.92, 0.81)]
EVEN = [(0.90, 0.91), (0.92, 0.90), (0.90, 0.89)]
BEHIND = [(0.80, 0.90), (0.81, 0.90), (0.82, 0.91)]


def test_intervals_match_a_paired_t_test(tmp_path):
    (point,) = curve_of({8: EVEN}, tmp_path).points("macro_f1")
    model, baseline = np.array(EVEN).T
    expected = stats.ttest_rel(model, baseline).confidence_interval(0.95)
    assert (point.low, point.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert point.model_sd == pytest.approx(np.std(model, ddof=1)) and point.verdict == "not shown"


def test_the_lower_loss_leads(tmp_path):
    (point,) = curve_of({8: BEHIND}, tmp_path).points("log_loss")
    assert point.verdict == "ahead"


@pytest.mark.parametrize(
    ("table", "says", "silent"),
    [
        ({8: AHEAD, 16: AHEAD}, ["still ahead", "No size was found"], ["do not show"]),
        ({8: EVEN, 16: AHEAD}, ["still ahead", "with 8 the trials do not show"], []),
        (
            {8: AHEAD, 16: EVEN, 32: EVEN},
            ["up to 8 texts", "From 16 texts on", "not to say"],
            ["baseline is ahead"],
        ),
        ({8: AHEAD, 16: EVEN, 32: BEHIND}, ["up to 8 texts", "With 32 texts the baseline is ahead"], []),
        ({8: EVEN, 16: EVEN}, ["At no size", "More trials"], ["stops"]),
        ({8: EVEN, 16: BEHIND}, ["At no size", "with 16 texts it is behind"], []),
        ({8: AHEAD[:1], 16: EVEN[:1]}, ["One trial", "no spread"], ["up to"]),
    ],
)
def test_the_verdict_claims_only_what_the_trials_show(tmp_path, table, says, silent):
    verdict = curve_verdict(curve_of(table, tmp_path).points("macro_f1"), "macro_f1")
    assert all(part in verdict for part in says), verdict
    assert not any(part in verdict for part in silent), verdict
