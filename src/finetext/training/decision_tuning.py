"""Calibration and decision thresholds, chosen after training; the test split is not used."""

import dataclasses

from finetext.decision import Decision
from finetext.evaluation import (
    DecisionSummary,
    choose_thresholds,
    fit_temperature,
    parse_criterion,
    scaled_probabilities,
)
from finetext.models import Model, output_layer, predict_logits, set_output_layer
from finetext.training.cross_validation import held_out_logits
from finetext.training.progress import Progress
from finetext.training.setup import RunInputs, Setup

MIN_TEXTS = 200
"""With fewer validation texts, temperature and thresholds are chosen by cross-fitting on training and validation."""
FOLDS = 5


def choose_decision(setup: Setup, inputs: RunInputs, progress: Progress) -> DecisionSummary:
    """Fit the temperature and choose the thresholds that the options ask for.

    Args:
        setup: The run, its model trained.
        inputs: What it reads.
        progress: Told what happens.
    """
    options, task = setup.config.decision, setup.dataset.task
    if not options.calibrate and options.threshold is None:
        return DecisionSummary(abstain_below=options.abstain_below, examples=0)
    criterion = None if options.threshold is None else parse_criterion(options.threshold)
    if len(setup.splits.validation) >= MIN_TEXTS:
        logits = predict_logits(setup.model, inputs.validation)
        targets = setup.targets(setup.splits.validation)
        chosen_on = "validation"
    else:
        progress.notice(
            f"{len(setup.splits.validation)} validation texts are too few to choose on: "
            f"cross-fitting over {FOLDS} folds of training and validation instead."
        )
        held_out, logits = held_out_logits(setup, FOLDS, progress)
        targets, chosen_on = setup.targets(held_out), "cross-fitting"
    temperature = fit_temperature(logits, targets) if options.calibrate else None
    if temperature == 1.0:
        progress.notice(
            f"the {len(targets)} texts to calibrate on ({chosen_on}) are all classified correctly, so they do not show "
            "how confident to be: the scores stay as they are."
        )
    probs = scaled_probabilities(logits, temperature or 1.0, task)
    thresholds = None if criterion is None else choose_thresholds(targets, probs, task, criterion)
    return DecisionSummary.of(
        Decision(thresholds, options.abstain_below),
        criterion=options.threshold,
        temperature=temperature,
        chosen_on=chosen_on,
        examples=len(targets),
    )


def apply_decision(model: Model, decision: Decision, temperature: float | None) -> None:
    """Fold the temperature into the output layer, and store the rule with the model."""
    if temperature is not None:
        layer = output_layer(model)
        bias = None if layer.bias is None else layer.bias.detach() / temperature
        set_output_layer(model, layer.weight.detach() / temperature, bias)
    model.settings = dataclasses.replace(model.settings, decision=decision)
