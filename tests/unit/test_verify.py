"""Verification of a saved bundle tolerates rounding and nothing else."""

import numpy as np
import pytest
import torch

from finetext.models import (
    head_inputs,
    load_bundle,
    output_layer,
    predict_logits,
    save_bundle,
    set_output_layer,
)
from finetext.training.verify import TOLERANCE, find_difference

TEXTS = ["win cash now", "tea at four", "the rain has stopped", "claim your gold prize"]


@pytest.fixture(scope="module")
def large_head(tmp_path_factory, trained):
    """A bundle whose logits are small differences of sums in the thousands, and a float32 step of such a sum."""
    model = load_bundle(trained("bert").folder.model)
    vectors = head_inputs(model, model.inputs(model.encode(TEXTS)))  # (N, H)
    layer, mean = output_layer(model), vectors.mean(0)
    # A direction in which the texts do not differ: a large weight along it changes no logit.
    deviations, direction = vectors - mean, torch.sign(mean)
    direction -= torch.linalg.pinv(deviations) @ deviations @ direction
    common = 10_000 * direction.expand(2, -1)
    set_output_layer(model, layer.weight + common, layer.bias - common @ mean)
    folder = tmp_path_factory.mktemp("bundles") / "large"
    save_bundle(model, folder, {})
    return folder, np.spacing(np.float32((vectors.abs() @ common.abs().t()).max()))


def test_one_rounding_step_of_a_large_sum_passes(large_head):
    folder, step = large_head
    logits = predict_logits(load_bundle(folder), TEXTS)
    assert step > TOLERANCE * max(1.0, np.abs(logits).max())  # a bound relative to the logits would refuse it
    assert find_difference(folder, TEXTS, logits + step) is None


def test_a_different_model_with_a_large_head_is_refused(large_head, tmp_path):
    folder, _ = large_head
    model = load_bundle(folder)
    logits = predict_logits(model, TEXTS)
    with torch.no_grad():
        for parameter in model.structure.layers[-1].parameters():
            parameter.mul_(1.001)
    save_bundle(model, tmp_path / "other", {})
    assert "logits differ" in find_difference(tmp_path / "other", TEXTS, logits)


def test_a_small_difference_with_an_ordinary_head_is_refused(trained):
    folder = trained("bert").folder.model
    logits = predict_logits(load_bundle(folder), TEXTS)
    assert find_difference(folder, TEXTS, logits) is None
    assert "logits differ" in find_difference(folder, TEXTS, logits + 0.001)
