"""The library functions behind `evaluate`, `inspect` and `predict`."""

import io

import polars as pl
import pytest

from finetext.data import DataConfig
from finetext.errors import DataError, UsageError
from finetext.experiments import evaluate, inspect
from finetext.inference import Prediction, predict_into_file, predict_into_stream, predict_into_table
from finetext.training import Progress


class Recorder(Progress):
    """Records the reported progress."""

    def __init__(self):
        self.stages = []

    def working(self, what, done, total):
        self.stages.append((what, done, total))


@pytest.fixture
def with_splits(tmp_path):
    path = tmp_path / "data.csv"
    rows = [f"{'win cash' if n % 2 else 'tea at'} {n},{'ham spam'.split()[n % 2]}" for n in range(20)]
    splits = ["train"] * 12 + ["validation"] * 2 + ["test"] * 6
    path.write_text("text,label,split\n" + "".join(f"{r},{s}\n" for r, s in zip(rows, splits, strict=True)))
    return path


@pytest.mark.parametrize(("split", "texts"), [("auto", 6), ("train", 12), ("all", 20)])
def test_evaluate_selects_a_split_of_the_source(tmp_path, trained, with_splits, split, texts):
    model, progress = trained("bert").folder.path, Recorder()
    data = DataConfig(split_column="split")
    result = evaluate(model, with_splits, data, split=split, output=tmp_path / "e", progress=progress)
    assert result.metrics.test.examples == len(result.dataset) == texts
    assert result.folder.report.is_file() and progress.stages[-1] == ("evaluating", texts, texts)


def test_evaluate_refuses_a_split_that_the_source_lacks(tmp_path, trained, messages):
    with pytest.raises(DataError, match="no splits of its own"):
        evaluate(trained("bert").folder.path, messages, split="test", output=tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_inspect_reports_fatal_findings_without_raising(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\none,a\ntwo,a\n")
    result = inspect(path, label_errors=True)
    assert result.splits is None and result.issues is None
    assert result.to_dict()["splits"] is None and "label_errors" not in result.to_dict()
    assert [finding.name for finding in result.dataset.findings.errors] == ["one-class"]


def test_every_way_of_predicting_gives_the_same_labels(tmp_path, trained):
    model, texts = trained("bert").folder.path, ["win cash now", "tea at four", ""]
    path = tmp_path / "texts.csv"
    path.write_text("text\n" + "\n".join(f'"{text}"' for text in texts) + "\n")
    told = []
    table, done = predict_into_table(
        Prediction(model, texts), progress=lambda rows, total: told.append((rows, total))
    )
    assert (done.rows, done.empty) == (3, 1) and told[-1] == (3, 3)
    stream = io.BytesIO()
    assert predict_into_stream(Prediction(model, path), stream, "csv").rows == 3
    predict_into_file(Prediction(model, path), tmp_path / "out.csv")
    assert stream.getvalue() == (tmp_path / "out.csv").read_bytes()
    labels = pl.read_csv(stream.getvalue())["predicted"].to_list()
    assert labels == table["predicted"].to_list() and labels[2] is None


def test_predicting_into_the_input_or_over_another_file_is_refused(tmp_path, trained):
    model, path = trained("bert").folder.path, tmp_path / "texts.csv"
    path.write_text("text\ntea\n")
    with pytest.raises(UsageError, match="is the input itself"):
        predict_into_file(Prediction(model, path), path, overwrite=True)
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        predict_into_file(Prediction(model, path), tmp_path / "out.csv")
    with pytest.raises(UsageError, match="nothing to resume"):
        predict_into_file(Prediction(model, path), tmp_path / "out.csv", resume=True)
    with pytest.raises(UsageError, match="only a file can be read again"):
        predict_into_file(Prediction(model, ["tea"]), tmp_path / "new.csv", resume=True)
    assert path.read_text() == "text\ntea\n" and (tmp_path / "out.csv").read_text() == "mine"
