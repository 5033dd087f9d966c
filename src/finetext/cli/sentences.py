"""What a run's figures say, in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetext import evaluation

Figures = Mapping[str, Any]
"""What `metrics.json` holds."""
SAID = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mcc": "MCC"}


def conclusions(figures: Figures) -> Iterator[str]:
    """Yield what stands under the table of a run: verdict, rule of decision, cross-validation."""
    test = figures["test"]
    yield f"MCC {test['mcc']:.3f}{interval(test, 'mcc')}."
    for name, compared in figures["comparisons"].items():
        if name != evaluation.MAJORITY:
            yield f"Against {name}: {verdict(compared)}"
    if rule := decision(figures):
        yield rule
    if figures["folds"]:
        yield cross_validation(figures["folds"])


def verdict(compared: Figures) -> str:
    """Return what the paired test says of the model beside a baseline."""
    words = {"better": "finetext is better", "worse": "finetext is worse"}
    says = words.get(compared["verdict"], "no difference shown")
    if compared["accuracy_difference_interval"] is None:
        return f"{says}: both are right on the very same texts."
    low, high = compared["accuracy_difference_interval"]
    return (
        f"{says} ({compared['accuracy_difference'] * 100:+.1f} points of accuracy, 95 % {low * 100:+.1f} to "
        f"{high * 100:+.1f}; McNemar's exact test p = {compared['mcnemar_p_value']:.2g})."
    )


def interval(metrics: Figures, name: str) -> str:
    """Return a figure's 95 % interval in brackets, or nothing where it has none."""
    found = metrics["intervals"].get(name)
    return "" if found is None else f" (95 % {found[0]:.3f}–{found[1]:.3f})"


def decision(figures: Figures) -> str:
    """Return how scores become labels, where that was asked for."""
    own = figures["decision"]
    parts = []
    if own["temperature"] is not None:
        parts.append(f"scores calibrated with a temperature of {own['temperature']:.3g}")
    if own["thresholds"] is not None:
        names = figures["class_names"] if figures["task"] == "multi-label" else figures["class_names"][1:]
        shown = [f"{name} from {own:.3g}" for name, own in zip(names, own["thresholds"], strict=True)]
        more = f", … {len(shown) - 5} more" if len(shown) > 5 else ""
        aim = f" ({own['criterion']})" if own["criterion"] else ""
        parts.append(f"threshold{aim}: {', '.join(shown[:5])}{more}")
    if own["chosen_on"] is not None:
        parts.append(
            f"chosen on {own['examples']:,} texts ({own['chosen_on']}), none of them of the test split"
        )
    if own["abstain_below"] is not None:
        kept = own["test"]
        right = "" if kept["accuracy"] is None else f", {kept['accuracy']:.4f} of them rightly"
        parts.append(
            f"abstains below {own['abstain_below']:g}: {kept['texts']:,} of {figures['test']['examples']:,} "
            f"test texts get a label{right}"
        )
    return f"Decision: {'; '.join(parts)}." if parts else ""


def count(texts: int) -> str:
    """Return `1 text` or `300 texts`."""
    return f"{texts:,} text{'' if texts == 1 else 's'}"


def cross_validation(folds: Figures) -> str:
    """Return mean and standard deviation over folds."""
    shown = ", ".join(
        f"{word} {folds['metrics'][name]['mean']:.4f} ± {folds['metrics'][name]['std']:.4f}"
        for name, word in SAID.items()
        if name in folds["metrics"]
    )
    return f"{folds['k']}-fold cross-validation over {folds['examples']:,} texts: {shown} (mean ± standard deviation)."
