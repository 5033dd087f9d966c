"""The report of a folder: its text, its files, and that its numbers match metrics.json."""

import html
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from finetext.errors import RunError
from finetext.evaluation import MAJORITY, TFIDF, RunMetrics
from finetext.reporting import write_report
from finetext.reporting.folder import read_predictions
from finetext.runs import RunFolder
from finetext.training import Run
from report_folders import HOSTILE, make_folder, random_predictions

COMMAND = "finetext train --config 'a <b>.toml'"


class Page(HTMLParser):
    """Collects the numbers, headings, ids, scripts and visible text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.numbers: list[tuple[str, str, str]] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self._attributes: dict = {}
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._open.append(tag)
        self._attributes = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            return
        self.words.append(data)
        if self._open and self._open[-1] == "data":
            self.numbers.append((self._attributes.get("data-key", ""), self._attributes["value"], data))
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a trained run."""
    return Run.open(shutil.copytree(trained("bert").folder.path, tmp_path / "run"))


def report(folder, metrics) -> Page:
    write_report(folder, RunMetrics.from_dict(metrics), COMMAND)
    return Page((folder / "report.html").read_text())


def at(metrics, key):
    """Return the value under a key such as `test.classes.0.f1`."""
    names, value = key, metrics
    while names:
        if isinstance(value, list | tuple):
            head, _, names = names.partition(".")
            value = value[int(head)]
        else:
            head = next(name for name in value if names == name or names.startswith(name + "."))
            value, names = value[head], names[len(head) + 1 :]
    return value


def check_numbers(page, metrics):
    """Assert that every number with a key matches that value of metrics.json up to rounding."""
    keyed = [number for number in page.numbers if number[0]]
    for key, value, shown in keyed:
        stands = at(metrics, key)
        assert (value == "") == (stands is None), key
        if stands is not None:
            assert float(value) == stands, key
            if re.fullmatch(r"[−\d.]+", shown):
                digits = len(shown.partition(".")[2])
                assert float(shown.replace("−", "-")) == pytest.approx(stands, abs=0.51 * 10**-digits), key
    return [key for key, _, _ in keyed]


def test_every_number_of_a_real_run_equals_metrics_json(run):
    written = json.loads(run.folder.metrics.read_text())
    costs = json.loads(run.folder.environment.read_text())["costs"]
    page = report(run.folder.path, written)
    keys = check_numbers(page, written | {"costs": costs})
    assert "costs.finetext.train_seconds" in keys
    for name in ("accuracy", "macro_f1", "mcc", "roc_auc", "pr_auc", "log_loss", "calibration_error"):
        assert f"test.{name}" in keys
        assert f"baselines.{TFIDF}.{name}" in keys
        assert f"baselines.{MAJORITY}.{name}" in keys
    assert page.headings[1:] == [
        "Metrics",
        "Training",
        "Confusion and classes",
        "Probabilities",
        "Decision",
        "Most confident mistakes",
        "Data",
        "Reproducing it",
    ]
    assert COMMAND in page.text
    low, high = run.metrics.test.interval("accuracy")
    assert f"95 % interval {low:.3f}–{high:.3f}" in page.text


def test_a_page_is_self_contained_and_its_ids_are_unique(run):
    page = report(run.folder.path, run.metrics.to_dict())
    assert not page.tags & {"script", "iframe", "img", "object"}
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    source = run.folder.report.read_text()
    assert "http:" not in source and "https:" not in source and "@import" not in source
    referenced = re.findall(r"url\(#([^)]+)\)", source)
    assert referenced and set(referenced) <= set(page.ids)


def test_report_and_plots_are_the_same_bytes_each_time(run):
    folder = run.folder

    def written():
        write_report(folder.path, run.metrics, COMMAND)
        return {path.name: path.read_bytes() for path in (folder.report, *sorted(folder.plots.iterdir()))}

    first = written()
    assert first == written()
    names = ["accuracy", "classes", "confusion", "coverage", "lengths", "loss", "precision-recall"]
    names += ["reliability", "roc"]
    assert set(first) == {"report.html", *(f"{n}.{kind}" for n in names for kind in ("svg", "png"))}


def test_every_plot_is_valid_and_has_a_description(run):
    write_report(run.folder.path, run.metrics, COMMAND)
    for path in run.folder.plots.glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        assert root.get("role") == "img"
        words = {child.tag.rpartition("}")[2]: child.text for child in root}
        assert words["title"] and len(words["desc"].split()) > 6
        assert "<dc:date>" not in path.read_text()
    for path in run.folder.plots.glob("*.png"):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert b"tIME" not in content


def test_hostile_texts_and_class_names_are_escaped(tmp_path):
    names = ["_<b>&", "$x_{", "a|b\x07 \"c'", "</style><script>"]
    targets, probs = random_predictions(60, 4)
    page = report(tmp_path, make_folder(tmp_path, names, targets, probs, baseline=probs[::-1]))
    assert "script" not in page.tags
    assert "img" not in page.tags
    wrong = np.flatnonzero(probs.argmax(axis=1) != targets)
    assert any(n % 2 for n in wrong)
    assert HOSTILE in page.text
    for path in (tmp_path / "plots").glob("*.svg"):
        ElementTree.parse(path)
    assert "$x_{" in (tmp_path / "plots" / "confusion.svg").read_text()


def test_long_texts_are_shortened_and_the_most_confident_mistakes_come_first(tmp_path):
    targets, probs = random_predictions(400, 2, skill=0.2)
    metrics = make_folder(tmp_path, ["no", "yes"], targets, probs)
    report(tmp_path, metrics)
    wrong = probs.max(axis=1)[probs.argmax(axis=1) != targets]
    source = (tmp_path / "report.html").read_text()
    quoted = [
        html.unescape(paragraph)
        for paragraph in re.findall(r'class="quoted" dir="auto">(.*?)</p>', source, re.DOTALL)
    ]
    sure = [float(v) for v in re.findall(r'confidence <data value="([^"]+)"', source)]
    assert len(quoted) == len(sure) == 20
    np.testing.assert_allclose(sure, np.sort(wrong)[::-1][:20], atol=1e-6)
    assert max(map(len, quoted)) <= 500
    assert any(text.endswith("…") for text in quoted)


@pytest.mark.parametrize(
    ("skills", "said", "tone"),
    [
        ((4.0, 1.0), "Better than", "better"),
        ((1.0, 4.0), "Worse than", "worse"),
        ((2.0, 2.0), "Not shown", "open"),
    ],
)
def test_the_verdict_follows_the_paired_test(tmp_path, skills, said, tone):
    targets, probs = random_predictions(300, 2, skill=skills[0])
    _, other = random_predictions(300, 2, skill=skills[1])
    metrics = make_folder(tmp_path, ["no", "yes"], targets, probs, baseline=other)
    page = report(tmp_path, metrics)
    assert page.headings[0].startswith(said) and TFIDF in page.headings[0]
    assert f'class="verdict {tone}"' in (tmp_path / "report.html").read_text()
    assert ("instead" in page.text) == (tone == "worse")
    assert metrics["comparisons"][TFIDF]["verdict"] in page.text


def test_a_model_that_leads_in_other_metrics_is_not_dismissed_by_its_accuracy_alone(tmp_path):
    targets = np.array([0] * 180 + [1] * 20)
    ours, theirs = np.full((200, 2), [0.9, 0.1]), np.full((200, 2), [0.9, 0.1])
    ours[:40] = ours[180:] = [
        0.1,
        0.9,
    ]  # perfect recall with false positives; the baseline never predicts yes
    metrics = make_folder(tmp_path, ["no", "yes"], targets, ours, baseline=theirs)
    page = report(tmp_path, metrics)
    assert page.headings[0] == f"Worse than {TFIDF}"
    assert (
        f"Worse in accuracy; against {TFIDF} it is ahead in balanced accuracy, macro-F1 and MCC" in page.text
    )
    assert "Decide by the metric that matters to you." in page.text


def test_classifiers_right_on_the_same_texts_are_reported_as_such(tmp_path):
    targets, probs = random_predictions(80, 2)
    metrics = make_folder(tmp_path, ["no", "yes"], targets, probs, baseline=probs)
    page = report(tmp_path, metrics)
    assert "Both are right on exactly the same texts." in page.text and "can be chance" not in page.text


def test_a_baseline_that_leads_by_chance_is_named(tmp_path):
    targets = np.array([0, 1] * 50)
    ours, theirs = np.eye(2)[targets] * 0.8 + 0.1, np.eye(2)[targets] * 0.8 + 0.1
    ours[:3] = ours[:3, ::-1]
    metrics = make_folder(tmp_path, ["no", "yes"], targets, ours, baseline=theirs)
    page = report(tmp_path, metrics)
    assert f"{TFIDF} has the higher accuracy, 1.0000; its lead can be chance." in page.text
    assert "The baseline is ahead in accuracy" in page.text


def test_synthetic_data_are_announced_in_a_banner(tmp_path):
    targets, probs = random_predictions(50, 2)
    said = "say nothing about real messages"
    assert said not in report(tmp_path / "a", make_folder(tmp_path / "a", ["n", "y"], targets, probs)).text
    metrics = make_folder(tmp_path / "b", ["n", "y"], targets, probs, synthetic_data=True)
    assert said in report(tmp_path / "b", metrics).text


def test_costs_decision_data_and_folds_are_shown(tmp_path):
    targets, probs = random_predictions(120, 2)
    metrics = make_folder(tmp_path, ["no", "yes"], targets, probs, baseline=probs[::-1])
    metrics["test"]["intervals"] = {"mcc": [0.111, 0.222], "log_loss": [0.1, 0.9], "roc_auc": None}
    metrics["comparisons"][TFIDF]["accuracy_difference_interval"] = [-0.021, 0.123]
    metrics |= {
        "decision": {
            "rule": "threshold",
            "criterion": "f1",
            "thresholds": [0.37],
            "abstain_below": 0.8,
            "temperature": 1.75,
            "chosen_on": "validation",
        },
        "data": {
            "findings": [
                {
                    "name": "exact-duplicates",
                    "count": 7,
                    "first_rows": [3, "b.csv:9"],
                    "detail": "The same text <i>.",
                    "severity": "warning",
                },
                {"name": "split-overlap", "count": 0, "first_rows": [], "detail": "", "severity": "ok"},
            ],
            "characters": [["min", 2.0], ["median", 61.5]],
        },
        "folds": {
            "k": 2,
            "examples": 80,
            "metrics": {"accuracy": {"mean": 0.8, "std": 0.1, "values": [0.7, 0.9]}},
        },
    }
    costs = {"finetext": {"train_seconds": 61.25, "seconds_per_1000": 0.5}}
    environment = tmp_path / "environment.json"
    environment.write_text(json.dumps(json.loads(environment.read_text()) | {"costs": costs}))
    page = report(tmp_path, json.loads(json.dumps(metrics)))
    keys = check_numbers(page, metrics | {"costs": costs})
    assert "costs.finetext.train_seconds" in keys
    assert "folds.metrics.accuracy.values.1" in keys
    assert "data.findings.0.count" in keys
    assert "data.characters.1.1" in keys
    for words in (
        "MCC " + f"{metrics['test']['mcc']:.4f} (95 % interval 0.111–0.222)",
        "95 % interval −2.1 to +12.3",
        "61.2 s",
        "“yes” from a probability of 0.37, chosen for f1 on validation",
        "Below a probability of 0.8 it gets no label",
        "temperature of 1.75",
        "3, b.csv:9",
        "The same text <i>.",
        "Looked for and not found: split overlap.",
        "Cross-validation",
        "In use is 0.37, marked.",
        "The test split was read once",
    ):
        assert words in page.text, words


def test_texts_without_a_label_are_counted(tmp_path):
    targets, probs = random_predictions(80, 2, skill=0.5)
    limit = 0.7
    rule = {"rule": "argmax", "criterion": None, "thresholds": None, "abstain_below": limit}
    kept = probs.max(axis=1) >= limit
    right = (probs.argmax(axis=1) == targets)[kept].mean()
    rule["test"] = {"coverage": kept.mean(), "accuracy": right, "texts": int(kept.sum())}
    metrics = make_folder(tmp_path, ["no", "yes"], targets, probs, decision=rule)
    page = report(tmp_path, metrics)
    assert f"{kept.sum()} of 80 texts get one, at an accuracy of {right:.4f}" in page.text
    check_numbers(page, metrics)


def test_the_report_of_an_evaluation_leaves_out_training_and_baselines(tmp_path):
    targets, probs = random_predictions(90, 3)
    metrics = make_folder(
        tmp_path,
        ["a", "b", "c"],
        targets,
        probs,
        training=False,
        model="runs/x/model",
        source="y.csv",
        split="test",
    )
    page = report(tmp_path, metrics)
    check_numbers(page, metrics)
    assert page.headings[0] == f"Accuracy {metrics['test']['accuracy']:.4f} on 90 texts"
    assert "y.csv · model" in page.text
    assert not {"Training", "Cross-validation"} & set(page.headings)
    assert "Baseline" not in page.text


@pytest.mark.parametrize("classes", [3, 20, 21, 30])
def test_many_classes_are_shown_by_their_most_confused_pairs(tmp_path, classes):
    targets, probs = random_predictions(40 * classes, classes, skill=1.5)
    names = [f"class {n}" for n in range(classes)]
    metrics = make_folder(tmp_path, names, targets, probs)
    page = report(tmp_path, metrics)
    keys = check_numbers(page, metrics)
    assert (tmp_path / "plots" / "confusion.svg").is_file() == (classes <= 20)
    assert ("Most confused pairs" in page.text) == (classes > 20)
    pairs = [key for key in keys if key.startswith("test.confusion.")]
    if classes > 20:
        counts = [at(metrics, key) for key in pairs]
        confusion = np.array(metrics["test"]["confusion"])
        np.fill_diagonal(confusion, 0)
        assert counts == sorted(confusion.ravel().tolist(), reverse=True)[:20]
    assert f"test.classes.{classes - 1}.f1" in keys


def test_multi_label_thresholds_are_shown(tmp_path):
    targets, probs = random_predictions(150, 5, multi=True, skill=1.0)
    targets[0] = 0
    rule = {
        "rule": "threshold",
        "criterion": "f1",
        "thresholds": [0.1, 0.2, 0.3, 0.4, 0.5],
        "abstain_below": None,
    }
    names = ["a", "b", "c", "d", "e"]
    metrics = make_folder(tmp_path, names, targets, probs, baseline=probs[::-1], decision=rule)
    page = report(tmp_path, metrics)
    keys = check_numbers(page, metrics)
    assert "decision.thresholds.4" in keys
    assert "test.hamming_loss" in keys
    assert "its own threshold, chosen for f1" in page.text
    assert "(no label)" in page.text
    assert "every label of" in page.text


def test_a_class_without_test_texts_has_no_recall(tmp_path):
    targets, probs = random_predictions(60, 3)
    targets[targets == 2] = 0
    metrics = make_folder(tmp_path, ["a", "b", "c"], targets, probs)
    page = report(tmp_path, metrics)
    assert "The test split has no text of “c”" in page.text
    keys = check_numbers(page, metrics)
    assert "test.classes.1.recall" in keys
    assert "test.classes.2.recall" not in keys
    assert "over 2 classes" in page.text


def test_a_constant_prediction_is_pointed_out(tmp_path):
    targets = np.array([0] * 30 + [1] * 10)
    probs = np.tile([0.8, 0.2], (40, 1))
    page = report(tmp_path, make_folder(tmp_path, ["ham", "spam"], targets, probs))
    assert "It predicts “ham” for every text." in page.text
    assert "Never predicted: “spam”" in page.text
    assert "0.3 – 0.000 0.000 0.000 0" in page.text  # the precision of no predictions is not defined


def test_a_class_name_of_several_lines_stays_in_its_sentence(tmp_path):
    targets, probs = np.zeros(8, dtype=np.int64), np.tile([0.8, 0.2], (8, 1))
    report(tmp_path, make_folder(tmp_path, ["two\n\nlines", "spam"], targets, probs))
    assert "<p>It predicts “two lines” for every text.</p>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_one_text_is_enough(tmp_path, right, classes):
    targets = np.array([1])
    probs = np.full((1, classes), 0.1)
    probs[0, 1 if right else 0] = 0.9
    metrics = make_folder(tmp_path, ["a", "b", "c"][:classes], targets, probs)
    page = report(tmp_path, metrics)
    check_numbers(page, metrics)
    assert "With only 1 text to test on" in page.text
    assert "there is no ROC or precision-recall curve" in page.text
    assert ("There is none among 1 text" in page.text) == right


def test_one_text_with_several_labels_is_enough(tmp_path):
    metrics = make_folder(tmp_path, ["a", "b"], np.array([[0, 0]]), np.array([[0.1, 0.9]]))
    check_numbers(report(tmp_path, metrics), metrics)


def test_class_names_in_other_scripts_are_kept(tmp_path):
    targets, probs = random_predictions(40, 3)
    page = report(tmp_path, make_folder(tmp_path, ["垃圾", "رسالة", "🙂"], targets, probs))
    assert "垃圾" in page.text
    assert "垃圾" in (tmp_path / "plots" / "confusion.svg").read_text()


def test_predictions_with_line_breaks_and_quotes_survive_a_round_trip(tmp_path):
    from finetext.evaluation import write_predictions

    texts = ['a "quoted"\nline', "carriage\rreturn", "", "comma, and ; semicolon", "\u2028separator", "null"]
    targets = np.array([0, 1, 0, 1, 0, 1])
    probs = np.eye(2)[targets] * 0.8 + 0.1
    write_predictions(tmp_path / "predictions.csv", texts, targets, probs, ['x,"y', "abstained"], "binary")
    predictions = read_predictions(tmp_path / "predictions.csv", ['x,"y', "abstained"], "binary")
    assert predictions.texts == texts
    np.testing.assert_array_equal(predictions.targets, targets)
    np.testing.assert_allclose(predictions.probs, probs)


def test_test_texts_that_are_in_the_training_split_are_counted(tmp_path):
    targets, probs = random_predictions(30, 2)
    metrics = make_folder(tmp_path, ["no", "yes"], targets, probs)
    assert "None of the 30 texts of the test split are" in report(tmp_path, metrics).text
    train = RunFolder(tmp_path).splits / "train.csv"
    test = (RunFolder(tmp_path).splits / "test.csv").read_text().splitlines()
    train.write_text(train.read_text() + test[1].upper() + "\n")
    assert "1 of the 30 texts of the test split is" in report(tmp_path, metrics).text


def test_metrics_json_is_read_and_written_unchanged(run, tmp_path):
    written = json.loads(run.folder.metrics.read_text())
    assert json.loads(json.dumps(RunMetrics.from_dict(written).to_dict())) == written
    run.metrics.write(tmp_path / "metrics.json")
    assert (tmp_path / "metrics.json").read_bytes() == run.folder.metrics.read_bytes()
    assert written["schema_version"] == 2


def test_metrics_of_the_first_schema_are_read(run):
    written = json.loads(run.folder.metrics.read_text())
    old = {name: value for name, value in written.items() if name not in ("decision", "data", "folds")}
    old |= {"schema_version": 1, "future": 3, "data": {"characters": {"min": 1.0, "max": 9.0}}}
    for metrics in (old["validation"], old["test"], *old["baselines"].values()):
        del metrics["intervals"]
    del old["comparisons"][TFIDF]["accuracy_difference_interval"]
    metrics = RunMetrics.from_dict(old)
    assert metrics.test.accuracy == written["test"]["accuracy"]
    assert metrics.test.interval("mcc") is None
    assert metrics.data.characters == (("min", 1.0), ("max", 9.0))
    assert metrics.decision.rule == "argmax"
    assert report(run.folder.path, old).headings


@pytest.mark.parametrize("content", ["{", "[]", '{"task": "binary"}', '{"test": []}'])
def test_a_damaged_metrics_json_is_named(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(RunError, match=r"metrics\.json: not a metrics\.json file"):
        RunMetrics.read(path)


@pytest.mark.slow
def test_a_hundred_thousand_predictions_make_a_small_page(tmp_path):
    targets, probs = random_predictions(100_000, 4, skill=1.0)
    metrics = make_folder(tmp_path, ["a", "b", "c", "d"], targets, probs, training=False)
    write_report(tmp_path, RunMetrics.from_dict(metrics), "")
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    assert max(path.stat().st_size for path in (tmp_path / "plots").iterdir()) < 300_000
