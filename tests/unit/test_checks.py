"""The checks count findings and name the first rows; fatal findings are reported together."""

import json

import polars as pl
import pytest

from finetext.data import DataConfig, check_lengths, examine, fold, read
from finetext.errors import DataError

TEN = [(f"text number {n}", "ab"[n % 2]) for n in range(10)]


def write(path, rows, header=("text", "label")):
    pl.DataFrame(rows, schema=[(name, pl.String) for name in header], orient="row").write_csv(
        path, quote_style="non_numeric"
    )
    return path


def findings_of(path, **options):
    return examine(path, DataConfig(**options)).findings


def test_sound_data_has_no_findings(tmp_path):
    findings = findings_of(write(tmp_path / "data.csv", TEN))
    assert {item.severity for item in findings.items} == {"ok"}
    assert findings.examples == 10
    assert dict(findings.classes) == {"a": 5, "b": 5}
    assert dict(findings.characters) == {"min": 13.0, "median": 13.0, "mean": 13.0, "p95": 13.0, "max": 13.0}


def test_rows_without_text_or_label_are_counted_and_left_out(tmp_path):
    rows = [*TEN, ("", "a"), (" \t", "b"), ("no label", ""), ("", "")]
    dataset = examine(write(tmp_path / "data.csv", rows), DataConfig())
    assert len(dataset) == 10
    texts, labels = dataset.findings["missing-texts"], dataset.findings["missing-labels"]
    assert (texts.count, texts.first_rows, texts.severity) == (3, (12, 13, 15), "warning")
    assert (labels.count, labels.first_rows, labels.severity) == (1, (14,), "warning")


def test_only_the_first_five_rows_are_named(tmp_path):
    finding = findings_of(write(tmp_path / "data.csv", TEN + [("", "a")] * 7))["missing-texts"]
    assert (finding.count, finding.first_rows) == (7, (12, 13, 14, 15, 16))


def test_duplicates_and_conflicts_are_found(tmp_path):
    rows = [*TEN, ("text number 0", "a"), ("Text  NUMBER 1", "b"), ("text number 3 ", "a")]
    findings = findings_of(write(tmp_path / "data.csv", rows))
    assert findings["exact-duplicates"].first_rows == (12,)
    assert findings["near-duplicates"].first_rows == (13, 14)
    assert findings["conflicting-labels"].first_rows == (5, 14)
    assert len(findings.warnings) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("e\u0301t\u00e9", "\u00c9TE\u0301"),
        (" a\u00a0\u2003b\n", "A B"),
        ("ΣΑΣ", "σας"),
    ],
)
def test_texts_that_differ_in_case_spaces_or_unicode_form_are_duplicates(one, other):
    assert fold(one) == fold(other)


def test_one_class_is_fatal(tmp_path):
    path = write(tmp_path / "data.csv", [(text, "a") for text, _ in TEN])
    assert [item.name for item in findings_of(path).errors] == ["one-class"]
    with pytest.raises(DataError, match=r"data\.csv: Only one class, 'a'"):
        read(path, DataConfig())


def test_data_without_usable_rows_is_fatal(tmp_path):
    path = write(tmp_path / "data.csv", [("", "a"), ("b", "")])
    with pytest.raises(DataError, match="No example has both a text and a label"):
        read(path, DataConfig())


def test_a_class_needs_a_distinct_text_for_each_split(tmp_path):
    small = write(tmp_path / "small.csv", [*TEN, ("c one", "c"), ("C  ONE", "c"), ("c two", "c")])
    with pytest.raises(DataError, match=r"in 3 splits: 'c' \(2\)"):
        read(small, DataConfig())
    test = write(tmp_path / "test.csv", [("other text", "a"), ("and one more", "c")])
    assert read(small, DataConfig(test_data=str(test))).findings["small-classes"].count == 0
    read(small, DataConfig(test_data=str(test), validation_data=str(test)))


def test_training_texts_that_are_also_in_test_do_not_count(tmp_path):
    train = write(tmp_path / "train.csv", [*TEN, ("c one", "c"), ("c two", "c")])
    test = write(tmp_path / "test.csv", [("C one", "c"), ("x", "a")])
    with pytest.raises(DataError, match=r"in 2 splits: 'c' \(1\)"):
        read(train, DataConfig(test_data=str(test)))


def test_labels_without_training_examples_are_fatal_and_named(tmp_path):
    write(tmp_path / "train.csv", TEN)
    write(tmp_path / "test.csv", [("one", "a"), ("two", "c"), ("three", "d")])
    with pytest.raises(DataError, match=r"'c', 'd' \(rows test\.csv:3, test\.csv:4\).*--label-map"):
        read(tmp_path, DataConfig())


def test_all_fatal_problems_are_reported_together(tmp_path):
    write(tmp_path / "train.csv", [*TEN, ("alone", "c")])
    write(tmp_path / "test.csv", [("one", "a"), ("two", "d")])
    with pytest.raises(DataError) as error:
        read(tmp_path, DataConfig())
    assert "'c' (1)" in str(error.value) and "'d'" in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_texts_shared_between_source_splits_are_found(tmp_path):
    write(tmp_path / "train.csv", [*TEN, ("shared", "a"), ("both", "b")])
    write(tmp_path / "dev.csv", [("Shared", "a"), ("val", "b")])
    write(tmp_path / "test.csv", [("shared", "a"), ("BOTH", "b")])
    findings = findings_of(tmp_path)
    assert findings["split-overlap"].first_rows == ("train.csv:12", "train.csv:13", "dev.csv:2")
    assert dict(findings.splits) == {"test": 2, "train": 12, "validation": 2}


def test_multi_label_texts_may_have_no_label(tmp_path):
    rows = [(f"text {n}", ["a|b", "a", "", "b | c"][n % 4]) for n in range(16)]
    dataset = read(write(tmp_path / "data.csv", rows), DataConfig())
    assert dataset.task == "multi-label"
    assert dataset.labels[:4] == [("a", "b"), ("a",), (), ("b", "c")]
    assert dataset.findings["no-labels"].count == 4
    assert dataset.findings["missing-labels"].count == 0


def test_a_multi_label_column_without_any_label_is_fatal(tmp_path):
    path = write(tmp_path / "data.csv", [(text, "") for text, _ in TEN])
    with pytest.raises(DataError, match="No text has a label"):
        read(path, DataConfig(task="multi-label"))


def test_the_task_can_be_chosen(tmp_path):
    path = write(tmp_path / "data.csv", [(text, "x|y" if n % 2 else "z") for n, (text, _) in enumerate(TEN)])
    assert read(path, DataConfig()).task == "multi-label"
    single = read(path, DataConfig(task="single-label"))
    assert (single.task, single.class_names) == ("binary", ("x|y", "z"))


@pytest.mark.parametrize(
    ("labels", "classes", "task"),
    [
        (["spam", "ham"], ("ham", "spam"), "binary"),
        (["10", "9", "-1"], ("-1", "9", "10"), "multi-class"),
        (["1.0", "0.0"], ("0", "1"), "binary"),
        (["1.0", "0.5"], ("0.5", "1.0"), "binary"),
        ([" yes", "no "], ("no", "yes"), "binary"),
    ],
)
def test_classes_are_ordered_by_number_or_name(tmp_path, labels, classes, task):
    rows = [(f"text {n}", labels[n % len(labels)]) for n in range(12)]
    dataset = read(write(tmp_path / "data.csv", rows), DataConfig())
    assert (dataset.class_names, dataset.task) == (classes, task)


def test_labels_can_be_renamed_and_merged(tmp_path):
    rows = [(f"text {n}", ["INTJ", "INFJ", "ENFP"][n % 3]) for n in range(12)]
    path = write(tmp_path / "data.csv", rows)
    renamed = {"INTJ": "introvert", "INFJ": "introvert", "ENFP": "extravert"}
    assert read(path, DataConfig(label_map=renamed)).count_labels() == {"extravert": 4, "introvert": 8}
    with pytest.raises(ValueError, match=r"--label-map\.ENFJ: no such label.*Did you mean"):
        read(path, DataConfig(label_map={"ENFJ": "x"}))


def test_long_texts_and_lost_tokens_are_counted():
    finding = check_lengths(["a", "b", "c", "d"], [5, 12, 10, 20], 10)
    assert (finding.count, finding.first_rows, finding.severity) == (2, (2, 4), "warning")
    assert "12 tokens (25.5% of all) are lost" in finding.detail
    assert check_lengths(["a"], [10], 10).severity == "ok"


def test_findings_are_json_safe(tmp_path):
    findings = findings_of(write(tmp_path / "data.csv", [*TEN, ("", "a")]))
    parsed = json.loads(json.dumps(findings.to_dict(), allow_nan=False))
    assert parsed["classes"] == {"a": 5, "b": 5}
    assert parsed["findings"][0] == {
        "name": "missing-texts",
        "count": 1,
        "first_rows": [12],
        "detail": "No text; these rows are left out.",
        "severity": "warning",
    }


def test_texts_in_windows_lose_no_tokens():
    finding = check_lengths(["a", "b"], [5, 12], 10, windows=True)
    assert finding.count == 1 and "lost" not in finding.detail and "windows" in finding.detail
