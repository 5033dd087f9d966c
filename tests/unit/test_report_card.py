"""The model card: its metadata for the Hub, and that its content matches the run."""

import json
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from finetext.evaluation import TFIDF, RunMetrics
from finetext.reporting import write_card
from finetext.reporting.rendering import escape_markdown
from finetext.training import Run
from report_folders import make_folder, random_predictions


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a trained run."""
    return Run.open(shutil.copytree(trained("bert").folder.path, tmp_path / "run"))


def card_of(folder, metrics) -> ModelCard:
    write_card(folder, metrics if isinstance(metrics, RunMetrics) else RunMetrics.from_dict(metrics))
    return ModelCard.load(folder / "model" / "README.md")


def environment(folder, **parts):
    path = folder / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def test_the_hub_library_reads_the_card_of_a_real_run(run):
    card = card_of(run.folder.path, run.metrics)
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-classification"
    results = {(r.metric_type, r.metric_name): r.metric_value for r in card.data.eval_results}
    test = run.metrics.test
    assert results == {
        ("accuracy", "Accuracy"): test.accuracy,
        ("f1", "Macro-F1"): test.macro_f1,
        ("matthews_correlation", "MCC"): test.mcc,
        ("roc_auc", "ROC-AUC"): test.roc_auc,
    }
    assert {result.dataset_split for result in card.data.eval_results} == {"test"}
    plain = metadata_load(run.folder.model / "README.md")
    name, results = model_index_to_eval_results(plain["model-index"])
    assert name == "bert-messages.csv"
    assert len(results) == 4
    # The Hub requires names to be strings and values to be numbers.
    for result in plain["model-index"][0]["results"]:
        assert result["task"]["type"] == "text-classification"
        assert result["dataset"]["name"] and result["dataset"]["type"]
        assert all(isinstance(metric["value"], float) for metric in result["metrics"])


def test_the_card_contains_neither_times_nor_paths(run, tmp_path):
    text = str(card_of(run.folder.path, run.metrics))
    assert str(tmp_path.parent) not in text and "/tmp" not in text
    assert json.loads(run.folder.environment.read_text())["started"][:10] not in text
    assert "base_model" not in text  # a local folder
    targets, probs = random_predictions(40, 2)
    cards = []
    for name in ("first", "second"):
        metrics = make_folder(tmp_path / name, ["no", "yes"], targets, probs, baseline=probs[::-1])
        costs = {"finetext": {"train_seconds": len(name), "seconds_per_1000": 1.0}}
        environment(tmp_path / name, started=name, seconds={"training": len(name)}, costs=costs)
        cards.append(str(card_of(tmp_path / name, metrics)))
    assert cards[0] == cards[1]


def test_the_code_of_the_card_runs_with_plain_transformers(run):
    text = str(card_of(run.folder.path, run.metrics))
    code = text.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(run.folder.model))
    shown = []
    exec(code, {"print": shown.append})
    ((answer,),) = shown
    assert answer["label"] in ("ham", "spam")


@pytest.mark.parametrize(
    ("model", "weights", "expected"),
    [
        ({"name": "minilm", "revision": None}, "pretrained", "sentence-transformers/all-MiniLM-L6-v2"),
        ({"name": "some/model", "revision": "0123abc"}, "pretrained", "some/model"),
        ({"name": "some/folder", "revision": None}, "pretrained", None),
        ({"name": "gpt2", "revision": None}, "random", None),
    ],
)
def test_the_base_model_is_named_only_if_it_is_on_the_hub(tmp_path, model, weights, expected):
    targets, probs = random_predictions(40, 2)
    metrics = make_folder(tmp_path, ["no", "yes"], targets, probs)
    environment(tmp_path, model=model)
    (tmp_path / "config.toml").write_text(f'[model]\nweights = "{weights}"\n')
    card = card_of(tmp_path, metrics)
    assert card.data.base_model == expected
    assert ("random weights" in card.text) == (weights == "random")


def test_metrics_are_shown_beside_the_baselines_with_intervals(tmp_path):
    targets, probs = random_predictions(200, 2)
    _, other = random_predictions(200, 2, skill=8.0)
    metrics = make_folder(tmp_path, ["no", "yes"], targets, probs, baseline=other)
    metrics["test"]["intervals"] = {"mcc": [0.25, 0.75]}
    text = card_of(tmp_path, metrics).text
    test, beside = metrics["test"], metrics["baselines"][TFIDF]
    low, high = (f"{test[end]:.3f}" for end in ("accuracy_low", "accuracy_high"))
    lower, upper = (f"{beside[end]:.3f}" for end in ("accuracy_low", "accuracy_high"))
    assert (
        f"| Accuracy | {test['accuracy']:.4f} ({low}–{high}) | {beside['accuracy']:.4f} ({lower}–{upper}) |"
        in text
    )
    assert f"| MCC | {test['mcc']:.4f} (0.250–0.750) | {beside['mcc']:.4f} |" in text
    assert f"Worse than {TFIDF}." in text
    assert f"- **worse** than {TFIDF}" in text
    counts = np.bincount(targets)
    assert f"| no | {counts[0]} | {counts[0]} | {counts[0]} |" in text


def test_synthetic_data_are_marked(tmp_path):
    targets, probs = random_predictions(40, 2)
    card = card_of(tmp_path, make_folder(tmp_path, ["no", "yes"], targets, probs, synthetic_data=True))
    assert "say nothing about real messages" in card.text
    assert card.data.eval_results[0].dataset_name == "data.csv (synthetic)"


def test_features_that_plain_transformers_lacks_are_listed(tmp_path):
    targets, probs = random_predictions(60, 3, multi=True)
    rule = {"rule": "threshold", "criterion": "f1", "thresholds": [0.25, 0.5, 0.75], "abstain_below": None}
    data = {
        "findings": [
            {"name": "long-texts", "count": 12, "first_rows": [1], "detail": "", "severity": "warning"}
        ]
    }
    metrics = make_folder(tmp_path, ["a", "b", "c"], targets, probs, decision=rule, data=data)
    (tmp_path / "model").mkdir()
    bundle = {"max_length": 64, "long_texts": "windows", "pooling": "mean"}
    (tmp_path / "model" / "finetext.json").write_text(json.dumps(bundle))
    card = card_of(tmp_path, metrics)
    for words in (
        "0.25, 0.5, 0.75",
        "overlapping windows",
        "reads the mean",
        "12 texts",
        "64 tokens",
        "top_k=None",
    ):
        assert words in card.text, words
    assert "Micro-F1" in {result.metric_name for result in card.data.eval_results}


def test_class_names_are_escaped_in_the_card(tmp_path):
    names = ["a|b", "<b>bold</b>", "new\nline", "yes: no", "---"]
    targets, probs = random_predictions(60, 5)
    card = card_of(tmp_path, make_folder(tmp_path, names, targets, probs))
    assert "| a\\|b |" in card.text
    assert "| &lt;b>bold&lt;/b> |" in card.text
    assert "| new line |" in card.text
    assert card.data.pipeline_tag == "text-classification"


def test_markdown_special_characters_are_escaped():
    assert escape_markdown("a *b* [c](d) `e` $f$ <i>") == r"a \*b\* \[c\](d) \`e\` \$f\$ &lt;i>"


def test_an_undefined_metric_is_left_out_of_the_metadata(tmp_path):
    card = card_of(tmp_path, make_folder(tmp_path, ["a", "b"], np.array([1]), np.array([[0.2, 0.8]])))
    assert "roc_auc" not in {result.metric_type for result in card.data.eval_results}
