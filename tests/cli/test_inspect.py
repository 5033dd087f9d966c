"""`finetext inspect` shows the results of the checks as tables and as JSON."""

import json
from pathlib import Path

import pytest

from finetext.cli.inspect import inspect
from finetext.data import DataConfig
from finetext.errors import DataError

SMS = Path(__file__).parents[3] / "shared/data/sms_spam/SMSSpamCollection"


@pytest.fixture
def path(tmp_path):
    rows = [f"text number {n},{'[ab]'[n % 2 : n % 2 + 2]}" for n in range(40)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["text,label", *rows, "text number 3,ab", ",ab", "TEXT number 3,[a"]))
    return path


def test_the_tables_show_counts_classes_and_findings(path, capsys):
    inspect(str(path))
    out, err = capsys.readouterr()
    assert err == ""
    assert f"source     {path}" in out
    assert "columns    text: text · label: label · format: csv" in out
    assert "examples   42, binary, 2 classes" in out
    assert "splits     train 29 · validation 4 · test 9" in out or "splits     train 30" in out
    for line in ("exact-duplicates", "near-duplicates", "conflicting-labels", "missing-texts"):
        assert line in out
    assert "│ [a " in out  # labels are not parsed as markup


def test_the_json_file_holds_the_findings(path, tmp_path, capsys):
    inspect(str(path), json=tmp_path / "findings.json")
    assert "exact-duplicates" in capsys.readouterr().out
    report = json.loads((tmp_path / "findings.json").read_text())
    assert (report["examples"], report["task"], report["text_column"]) == (42, "binary", "text")
    assert sum(report["splits"].values()) == 42
    findings = {finding["name"]: finding for finding in report["findings"]}
    assert findings["missing-texts"]["first_rows"] == [43]
    assert findings["exact-duplicates"]["count"] == 1
    assert findings["near-duplicates"]["first_rows"] == [44]


def test_a_dash_prints_only_json(path, capsys):
    inspect(str(path), json=Path("-"))
    assert json.loads(capsys.readouterr().out)["source"] == str(path)


def test_fatal_findings_are_shown_and_raised(tmp_path, capsys):
    path = tmp_path / "data.csv"
    path.write_text("text,label\none,a\ntwo,a\n")
    with pytest.raises(DataError, match="Only one class, 'a'"):
        inspect(str(path), json=tmp_path / "findings.json")
    assert "one-class" in capsys.readouterr().out
    assert json.loads((tmp_path / "findings.json").read_text())["splits"] is None


@pytest.mark.skipif(not SMS.exists(), reason="../shared/data/sms_spam is not here")
def test_the_sms_collection_is_inspected(capsys):
    inspect(str(SMS), data=DataConfig(limit=1000))
    out = capsys.readouterr().out
    assert "5,574, binary, 2 classes" in out
    assert "train 700 · validation 100 · test 200" in out
    assert "text: column 2 · label: column 1 · format: two-column" in out
