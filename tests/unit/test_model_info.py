"""The model card and test metrics that the server reads from a run."""

import json

import pytest

from finetext.serving.model_info import read_card_and_metrics

TEST = {
    "examples": 12,
    "accuracy": 0.5,
    "accuracy_low": 0.4,
    "accuracy_high": 0.6,
    "macro_f1": 0.3,
    "mcc": None,
    "roc_auc": 0.7,
    "intervals": {"accuracy": [0.1, 0.9], "macro_f1": [0.1, 0.4], "roc_auc": None},
    "classes": [{"name": "ham", "precision": 1.0, "recall": None, "f1": 0.5, "support": 6, "more": 1}],
}


def write(folder, card, metrics):
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "README.md").write_text(card)
    (folder / "metrics.json").write_text(metrics if isinstance(metrics, str) else json.dumps(metrics))
    return folder


@pytest.mark.parametrize("inside", [False, True])
def test_the_card_and_the_metrics_of_a_run_are_read(tmp_path, inside):
    metrics = {
        "test": TEST,
        "baselines": {"TF-IDF": TEST},
        "comparisons": {"TF-IDF": {"verdict": "better", "p": 0.1}},
    }
    run = write(tmp_path, "---\ntags: x\n---\n\n# A card\n", metrics)
    info = read_card_and_metrics(run / "model" if inside else run)
    assert info["card"] == "# A card"
    test = info["test"]
    assert [(metric["title"], metric["low"], metric["high"]) for metric in test["figures"]] == [
        ("Accuracy", 0.4, 0.6),  # Wilson's interval, as in the report
        ("Macro-F1", 0.1, 0.4),
        ("ROC-AUC", None, None),
    ]
    assert test["classes"] == [{"name": "ham", "precision": 1.0, "recall": None, "f1": 0.5, "support": 6}]
    assert test["examples"] == 12 and test["synthetic_data"] is False
    assert test["baselines"] == [{"name": "TF-IDF", "verdict": "better", "figures": test["figures"]}]


@pytest.mark.parametrize(
    "metrics",
    [
        "",
        "null",
        "[]",
        "[" * 100_000,
        '{"test": 3}',
        '{"test": {"accuracy": NaN}}',
        '{"test": {"accuracy": "x"}}',
    ],
    ids=lambda content: content[:20],
)
def test_metrics_that_finetext_did_not_write_are_left_out(tmp_path, metrics):
    info = read_card_and_metrics(write(tmp_path, "# A card", metrics))
    assert info == {"card": "# A card", "test": None}


def test_a_folder_without_card_and_metrics_has_neither(tmp_path):
    assert read_card_and_metrics(tmp_path) == {"card": None, "test": None}
