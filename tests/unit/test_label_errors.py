"""Wrong labels, near-duplicates and outliers are found with out-of-fold probabilities."""

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from finetext.cache import Trunk
from finetext.cli.app import main
from finetext.cli.inspect import inspect
from finetext.data import DataConfig, assign_folds, examine
from finetext.errors import DataError, UsageError
from finetext.evaluation import encode_targets
from finetext.experiments import find_issues
from finetext.experiments.issue_search import text_vectors
from finetext.experiments.label_errors import judge_labels, judged_classes, out_of_fold
from finetext.experiments.near_duplicates import find_similar, unit_vectors
from finetext.models import ModelConfig, find_model, load_model, mean_vectors
from finetext.training import Progress, activation_cache

SMS = Path(__file__).parents[3] / "shared/data/sms_spam/SMSSpamCollection"


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def flip(dataset, share, seed):
    """Flip the labels of a share of the examples; return the new data set and the flipped indices."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(dataset), round(share * len(dataset)), replace=False)
    labels = list(dataset.labels)
    for index in chosen:
        others = [name for name in dataset.class_names if name not in labels[index]]
        labels[index] = (str(random.choice(others)),)
    return dataclasses.replace(dataset, labels=labels), set(chosen.tolist())


@pytest.mark.slow
@pytest.mark.skipif(not SMS.exists(), reason="../shared/data/sms_spam is not here")
def test_flipped_labels_rank_first():
    dataset = examine(SMS, DataConfig())
    vectors = text_vectors(dataset, ModelConfig(), seed=0)
    for seed in range(3):
        noisy, flipped = flip(dataset, 0.05, seed)
        targets = encode_targets(noisy.labels, noisy.class_names, noisy.task)
        probs = out_of_fold(noisy, vectors, targets, assign_folds(noisy, 5, seed), seed)
        quality, wrong, suggested = judge_labels(targets, probs, judged_classes(noisy))
        first = set(np.argsort(quality, kind="stable")[: int(0.06 * len(noisy))].tolist())
        assert len(first & flipped) / len(flipped) >= 0.95
        flagged = set(np.flatnonzero(wrong).tolist())
        assert len(flagged & flipped) / len(flagged) >= 0.9
        assert all(suggested[i] != targets[i] for i in flagged)


def test_equal_texts_share_a_fold_and_folds_are_stratified(messages, tmp_path):
    rows = [(f"text {n % 40}" + " " * (n // 40), "ab"[n % 2]) for n in range(120)]
    rows += [(f"rare {n}", "c") for n in range(3)]
    dataset = examine(write(tmp_path / "data.csv", rows), DataConfig())
    folds = assign_folds(dataset, 5, seed=1)
    by_key = {}
    for key, fold in zip(dataset.keys, folds.tolist(), strict=True):
        assert by_key.setdefault(key, fold) == fold
    assert len({folds[i] for i, names in enumerate(dataset.labels) if names == ("c",)}) == 3
    distinct = [fold for key, fold in by_key.items() if key.startswith("text")]
    assert set(np.bincount(distinct).tolist()) == {8}
    assert (folds == assign_folds(dataset, 5, seed=1)).all() and (folds != assign_folds(dataset, 5, 2)).any()


def test_the_label_of_a_text_does_not_influence_its_probabilities(messages):
    dataset = examine(messages, DataConfig())
    vectors = torch.randn(len(dataset), 8, generator=torch.Generator().manual_seed(0))
    folds = assign_folds(dataset, 4, seed=0)
    targets = encode_targets(dataset.labels, dataset.class_names, dataset.task)
    held_out = np.flatnonzero(folds == 2)
    flipped = targets.copy()
    flipped[held_out] = 1 - flipped[held_out]
    probs = out_of_fold(dataset, vectors, targets, folds, seed=0)
    other = out_of_fold(dataset, vectors, flipped, folds, seed=0)
    assert (probs[held_out] == other[held_out]).all() and (probs[folds != 2] != other[folds != 2]).any()
    assert probs.sum(axis=1) == pytest.approx(1)


def test_classes_too_rare_to_judge_are_named(checkpoint, tmp_path):
    rows = [(f"{'win cash' if n % 2 else 'tea at'} number {n}", "ab"[n % 2]) for n in range(40)]
    rows += [("call home", "two"), ("call again", "two"), ("the rain", "one"), ("the rain", "one")]
    dataset = examine(write(tmp_path / "data.csv", rows), DataConfig())
    result = find_issues(dataset, ModelConfig(model=str(checkpoint("bert"))))
    assert result.notes == ("Too rare to judge their labels: 'one'.",)
    assert np.isnan(result.quality[-2:]).all() and not np.isnan(result.quality[:-2]).any()
    assert all(issue.index < 42 for issue in result.of("label-error"))
    assert np.argsort(result.quality, kind="stable")[-2:].tolist() == [42, 43]


def test_wrong_label_sets_are_found(checkpoint, tmp_path):
    rows = [(f"win a prize number {n}", "gain|news") for n in range(30)]
    rows += [(f"the rain has stopped {n}", "news") for n in range(30)]
    rows += [(f"tea at home {n}", "") for n in range(30)]
    rows[4] = (rows[4][0], "news")
    rows[70] = (rows[70][0], "gain")
    dataset = examine(write(tmp_path / "data.csv", rows), DataConfig())
    result = find_issues(dataset, ModelConfig(model=str(checkpoint("gpt2"))))
    assert set(np.argsort(result.quality, kind="stable")[:2].tolist()) == {4, 70}
    suggested = {issue.index: issue.suggested for issue in result.of("label-error")}
    assert suggested[4] == ("gain", "news") and suggested[70] == ()


def test_too_few_texts_and_impossible_options_are_refused(tmp_path, messages):
    dataset = examine(messages, DataConfig())
    with pytest.raises(UsageError, match="--folds 1"):
        find_issues(dataset, folds=1)
    with pytest.raises(DataError, match="61 folds"):
        find_issues(dataset, folds=61)
    alone = examine(
        write(tmp_path / "data.csv", [("x", "a"), *[(f"{n}", "b") for n in range(9)]]), DataConfig()
    )
    with pytest.raises(DataError, match="no two classes"):
        find_issues(alone)


@pytest.mark.parametrize("limit", [None, "1KB"])
def test_vectors_are_cached_for_the_next_run(checkpoint, messages, monkeypatch, tmp_path, limit):
    monkeypatch.setenv("FINETEXT_HOME", str(tmp_path))
    monkeypatch.setattr("finetext.experiments.issue_search.activation_cache", lambda: activation_cache(limit))
    runs, ordinary = [], Trunk.run

    def counted(trunk, windows):
        runs.append(len(windows))
        return ordinary(trunk, windows)

    monkeypatch.setattr(Trunk, "run", counted)
    dataset, config = examine(messages, DataConfig()), ModelConfig(model=str(checkpoint("bert")))
    reported = []

    class Recorder(Progress):
        def working(self, what, done, total):
            reported.append((done, total))

    first = text_vectors(dataset, config, 42, progress=Recorder())
    assert reported.pop() == (len(dataset), len(dataset))
    again = text_vectors(dataset, config, 42, progress=Recorder())
    assert reported.pop() == (len(dataset), len(dataset))
    assert len(runs) == (1 if limit is None else 2)  # recomputed if the cache has no room for them
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    model = load_model(find_model(config.model), dataset.class_names, dataset.task, config, seed=0)
    plain = mean_vectors(model, model.encode(dataset.texts), 1, arithmetic="fp32")
    torch.testing.assert_close(first, plain, rtol=0, atol=0.02 * float(plain.abs().max()))  # bf16


@pytest.mark.parametrize("block", [1, 7, 100])
def test_groups_do_not_depend_on_the_block_size(block):
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, 32))
    units = unit_vectors(
        (centres[np.arange(30) % 10] + 0.05 * random.normal(size=(30, 32))).astype(np.float32)
    )
    units = np.concatenate([units, unit_vectors(random.normal(size=(5, 32)).astype(np.float32))])
    group, cosine = find_similar(units, 0.9, block)
    assert group.tolist() == [*(n % 10 for n in range(30)), *range(30, 35)]
    table = units @ units.T - 2 * np.eye(35)
    assert cosine[:30] == pytest.approx(table[:30].max(axis=1), abs=1e-5)
    assert (cosine[30:] == 0).all()


def test_chained_links_form_one_group():
    angles = np.radians([0, 80, 20, 40, 60])
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    for block in (1, 2, 5):
        group, _ = find_similar(units, np.cos(np.radians(21)), block)
        assert group.tolist() == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "albert"])
def test_mean_vectors_match_the_hidden_states_of_transformers(monkeypatch, checkpoint, architecture):
    from finetext.models import trunk

    monkeypatch.setattr(trunk, "computes_bf16_fast", lambda device: False)
    config = ModelConfig(dropout=0.0, max_length=8, long_texts="windows")
    model = load_model(find_model(str(checkpoint(architecture))), ("a", "b"), "binary", config, seed=0)
    texts = ["win a prize now", "tea", "the rain has stopped and we are on for home then " * 2]
    encoded = model.encode(texts)
    assert len(encoded[2]) > 1
    vectors = mean_vectors(model, encoded, 1)
    assert model.cut_at == 0
    if architecture == "albert":  # cannot be cut
        assert vectors.shape == (3, 16)
        return
    plain = AutoModel.from_pretrained(checkpoint(architecture)).eval()
    for text, windows in enumerate(encoded):
        with torch.no_grad():
            states = [
                plain(torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0] for ids in windows
            ]
        assert vectors[text].numpy() == pytest.approx(torch.cat(states).mean(0).numpy(), abs=1e-4)


@pytest.fixture
def noisy(tmp_path):
    rows = [(f"win a gold prize and cash {n * 37}", "spam") for n in range(30)]
    rows += [(f"are we still on for tea at {n * 53}", "ham") for n in range(30)]
    rows[7] = (rows[7][0], "ham")
    return write(tmp_path / "data.csv", rows)


def test_the_command_prints_and_writes_the_issues(noisy, tmp_path, checkpoint, capsys):
    issues, report = tmp_path / "issues.csv", tmp_path / "report.json"
    inspect(str(noisy), model=str(checkpoint("bert")), label_errors=True, issues=issues, json=report)
    printed = capsys.readouterr().out
    assert "label-errors" in printed and "To look at" in printed
    with issues.open(newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [row for row in rows if row["kind"] == "label-error"]
    assert wrong[0]["row"] == "9" and (wrong[0]["label"], wrong[0]["suggested_label"]) == ("ham", "spam")
    assert wrong[0]["text"] == "win a gold prize and cash 259" and 0 <= float(wrong[0]["score"]) < 0.5
    report = json.loads(report.read_text())
    assert [issue["row"] for issue in report["label_errors"]["faults"]] == [int(row["row"]) for row in rows]
    finding = next(item for item in report["findings"] if item["name"] == "label-errors")
    assert finding["count"] == len(wrong) and finding["first_rows"][0] == 9


def test_near_duplicates_with_other_labels_are_conflicts(tmp_path, checkpoint):
    rows = [("win a gold prize and cash today", "spam"), ("win a gold prize and cash today !", "ham")]
    rows += [
        ("win a gold  prize and cash TODAY", "spam")
    ]  # a duplicate of the first, which other checks report
    rows += [
        (f"{'rain ' * (n % 7)} {n * 37} {'call home ' * (n % 5)}", "ham spam".split()[n % 2])
        for n in range(40)
    ]
    dataset = examine(write(tmp_path / "data.csv", rows), DataConfig())
    result = find_issues(dataset, ModelConfig(model=str(checkpoint("bert"))), similar=0.9)
    conflicts = [issue for issue in result.of("similar-conflict") if issue.group == 2]
    assert [issue.row for issue in conflicts] == [2, 3] and all(issue.score >= 0.9 for issue in conflicts)


def test_options_without_effect_are_refused(messages, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(messages), "--issues", str(tmp_path / "issues.csv")])
    assert ended.value.code == 2 and "--label-errors" in capsys.readouterr().err


def test_a_missing_cleanlab_names_the_extra(messages, monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(UsageError, match=r'pip install "finetext\[label-errors\]"'):
        find_issues(examine(messages, DataConfig()))
