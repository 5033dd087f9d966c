"""`curve`, `compare` and `sweep`, from the command to the files."""

import csv
import json
import re
import shutil

import pytest
from safetensors.torch import load_file
from sklearn import metrics as sk

from finetext.cli import main
from finetext.errors import DataError, RunError
from finetext.experiments import compare, learning_curve, resume_curve

HEAD = ["--trainable", "head", "--epochs", "1"]


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code or 0


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETEXT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, checkpoint, messages):
    """Two runs on the same splits and one on different splits."""
    from finetext.training import train

    folder = tmp_path_factory.mktemp("compared")
    options = {"model": str(checkpoint("bert")), "epochs": 1, "trainable": "head"}
    train(messages, output=folder / "a", **options)
    train(messages, output=folder / "b", **options | {"trainable": "all", "learning_rate": 3e-3, "epochs": 4})
    train(messages, output=folder / "other", seed=7, **options)
    return folder


def test_curve_writes_its_files_and_prints_its_tables(tmp_path, home, checkpoint, messages, capsys):
    words = ["curve", messages, "--model", checkpoint("bert"), "--sizes", "8,16,500", "--trials", "2"]
    assert run(*words, "--test-size", "20", "--output", tmp_path / "c", *HEAD) == 0
    shown = capsys.readouterr()
    assert "left out size 500" in shown.err and "4 of 4" in shown.err
    for word in ("accuracy", "macro-F1", "TF-IDF", "95 % interval", "fine-tuned is", "paired trials"):
        assert word in shown.out
    assert {path.name for path in (tmp_path / "c").iterdir() if path.name[0] != "."} == {
        "config.toml",
        "plan.json",
        "trials.jsonl",
        "curve.csv",
        "curve.json",
        "curve.svg",
        "curve.png",
    }
    trials = json.loads((tmp_path / "c" / "curve.json").read_text())["trials"]
    assert [(trial["size"], trial["trial"]) for trial in trials] == [(8, 1), (8, 2), (16, 1), (16, 2)]
    assert all(trial["train"] + trial["validation"] == trial["size"] for trial in trials)
    assert all(trial["test"] == 20 for trial in trials)
    row = next(row for row in rows_of(tmp_path / "c" / "curve.csv") if row["metric"] == "accuracy")
    accuracies = [trial["model"]["accuracy"] for trial in trials if trial["size"] == 8]
    assert float(row["model"]) == pytest.approx(sum(accuracies) / 2)
    assert "<svg" in (tmp_path / "c" / "curve.svg").read_text()
    assert (tmp_path / "c" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_frozen_layers_process_each_text_once_per_curve(tmp_path, home, checkpoint, messages):
    from finetext.data import DataConfig, read
    from finetext.experiments.subsets import Pool
    from finetext.models import ModelConfig, find_model, load_model

    model = str(checkpoint("gpt2"))
    options = {"model": model, "trainable": "last-block", "epochs": 1}
    sizes, trials, tests = [8, 16, 32], 3, 15
    curve = learning_curve(
        messages, sizes=sizes, trials=trials, test_size=tests, output=tmp_path / "c", **options
    )
    dataset = read(messages, DataConfig())
    pool = Pool(dataset, DataConfig(), 42)
    draws = [pool.draw(size, tests, number) for size in sizes for number in range(1, trials + 1)]
    encode = load_model(find_model(model), dataset.class_names, dataset.task, ModelConfig(), 42).encode
    drawn = {tuple(windows[0]) for draw in draws for windows in encode(draw.dataset.texts)}
    assert sum(trial.computed_tokens for trial in curve.trials) == sum(map(len, drawn))
    assert sum(len(draw.dataset) for draw in draws) > 2 * len(drawn)


def test_a_curve_trial_equals_a_training_on_the_same_sample(tmp_path, home, checkpoint, messages):
    from finetext.data import DataConfig, read
    from finetext.experiments.subsets import Pool
    from finetext.training import TrainConfig, override, run_trial

    options = {"model": str(checkpoint("bert")), "trainable": "last-block", "epochs": 2}
    curve = learning_curve(messages, sizes=[20], trials=2, test_size=20, output=tmp_path / "c", **options)
    draw = Pool(read(messages, DataConfig()), DataConfig(), 42).draw(20, 20, 2)
    config = override(TrainConfig(), options | {"source": str(messages), "seed": 43})
    trial = run_trial(config, (draw.dataset, draw.splits))
    assert curve.trials[1].model["log_loss"] == pytest.approx(trial.test_metrics().log_loss, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sizes", "many"], "whole numbers"),
        (["--sizes", "2"], "no size is possible"),
        (["--test-size", "1024"], "Choose between 1 and 57"),
        (["--trials", "0", "--test-size", "9"], "at least 1"),
        (["--resume", "nowhere"], "not the folder of a curve"),
    ],
)
def test_an_impossible_curve_is_refused_with_the_reason(tmp_path, monkeypatch, messages, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    words = ["--test-size", "9", *words] if "--sizes" in words else words
    assert run("curve", *([] if "--resume" in words else [messages]), *words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "curves").exists()


def test_a_curve_resumes_only_with_its_original_options_and_data(
    tmp_path, home, checkpoint, messages, capsys
):
    data = shutil.copy(messages, tmp_path / "m.csv")
    model, where = checkpoint("bert"), tmp_path / "c"
    words = ["--model", model, "--sizes", "8,16", "--trials", "2", "--test-size", "20", *HEAD]
    assert run("curve", data, *words, "--output", where) == 0
    log = (where / "trials.jsonl").read_text().splitlines()
    (where / "trials.jsonl").write_text("\n".join(log[:3]) + "\n")  # as if killed during the fourth trial
    (where / "curve.json").unlink()
    capsys.readouterr()
    assert run("curve", "--resume", where, "--trials", "2", "--epochs", "1") == 0
    assert capsys.readouterr().err.count(" of 4") == 1
    again = [json.loads(line) for line in (where / "trials.jsonl").read_text().splitlines()]
    first = [json.loads(line) for line in log]
    assert [trial["model"] for trial in again] == [pytest.approx(t["model"], abs=1e-6) for t in first]
    with pytest.raises(RunError, match="--sizes, --trials would differ"):
        resume_curve(where, sizes=[8], trials=3)
    with pytest.raises(RunError, match="--epochs would differ"):
        resume_curve(where, epochs=2)
    assert run("curve", data, *words, "--output", where) == 2
    assert "--resume" in capsys.readouterr().err
    data.write_text(data.read_text().replace("win", "won"))
    with pytest.raises(RunError, match="data have changed"):
        resume_curve(where)


def test_compare_reports_metrics_and_paired_differences(tmp_path, runs, capsys):
    page, numbers = tmp_path / "page.html", tmp_path / "c.json"
    assert run("compare", runs / "a", runs / "b", "--html", page, "--json", numbers) == 0
    shown = capsys.readouterr().out
    assert "The same 12 test texts" in shown and "McNemar" in shown and "last" not in shown
    comparison = json.loads(numbers.read_text())
    for summary, name in zip(comparison["entrants"], "ab", strict=True):
        metrics = json.loads((runs / name / "metrics.json").read_text())["test"]
        for metric in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "mcc"):
            assert summary[metric] == pytest.approx(metrics[metric])
        assert summary["log_loss"] == pytest.approx(metrics["log_loss"], abs=1e-5)
        rows = rows_of(runs / name / "predictions.csv")
        assert summary["mcc"] == pytest.approx(
            sk.matthews_corrcoef([r["label"] for r in rows], [r["predicted"] for r in rows])
        )
        assert summary["train_seconds"] > 0 and summary["trainable"] in ("head", "all")
        tensors = load_file(runs / name / "model" / "model.safetensors").values()
        assert summary["parameters"] == sum(tensor.numel() for tensor in tensors)
    (against,) = comparison["against"]
    first, second = comparison["entrants"]
    for metric, value in against["differences"].items():
        assert value["difference"] == pytest.approx(second[metric] - first[metric])
        assert value["low"] <= value["difference"] <= value["high"]
    html = page.read_text()
    assert "<script" not in html and "http" not in html and "prefers-color-scheme" in html
    assert f"{second['macro_f1']:.4f}" in html and "@media print" in html
    assert run("compare", runs / "a", runs / "b", "--html", page) == 2


def test_the_best_run_can_be_the_reference_and_names_are_escaped(tmp_path, runs, capsys):
    hostile = shutil.copytree(runs / "a", tmp_path / "<img src=x onerror=alert(1)>")
    assert run("compare", hostile, runs / "b", "--reference", "best", "--html", tmp_path / "p.html") == 0
    assert "<img" not in (tmp_path / "p.html").read_text()
    comparison = compare([hostile, runs / "b"], best=True)
    best = max(comparison.runs, key=lambda run: run.accuracy)
    assert comparison.reference == best.name and len(comparison.differences) == 1


def test_compare_needs_only_metrics_and_predictions_in_any_row_order(tmp_path, runs):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "metrics.json").write_text("{}")
    head, *body = (runs / "b" / "predictions.csv").read_text().splitlines()
    (bare / "predictions.csv").write_text("\n".join([head, *reversed(body)]) + "\n")
    comparison = compare([runs / "a", bare])
    whole = compare([runs / "a", runs / "b"])
    assert comparison.differences[0].metrics == whole.differences[0].metrics
    summary = comparison.runs[1]
    assert summary.log_loss == pytest.approx(whole.runs[1].log_loss)
    assert summary.parameters is None and summary.model is None


def test_runs_with_different_test_texts_are_not_compared(tmp_path, runs, capsys):
    with pytest.raises(DataError, match="not tested on the texts"):
        compare([runs / "a", runs / "other"])
    changed = shutil.copytree(runs / "b", tmp_path / "changed")
    text = (changed / "predictions.csv").read_text()
    (changed / "predictions.csv").write_text(re.sub("^([^,]*),ham,", r"\1,spam,", text, count=1, flags=re.M))
    with pytest.raises(DataError, match="another label"):
        compare([runs / "a", changed])
    (changed / "predictions.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="not a file of predictions"):
        compare([runs / "a", changed])
    (changed / "predictions.csv").unlink()
    assert run("compare", runs / "a", changed) == 1
    assert "holds no predictions.csv" in capsys.readouterr().err
    assert run("compare", runs / "a") == 2
    assert run("compare", runs / "a", runs / "a") == 2


def sweep_file(tmp_path, model, text):
    path = tmp_path / "sweep.toml"
    path.write_text(f'[model]\nmodel = "{model}"\ntrainable = "head"\n[train]\nepochs = 2\n{text}')
    return path


def test_only_the_best_trial_of_a_grid_is_tested(tmp_path, home, checkpoint, messages, capsys):
    config = sweep_file(
        tmp_path,
        checkpoint("bert"),
        '[sweep]\nmetric = "log_loss"\n[sweep.grid]\nlearning_rate = [1e-3, 1e-2]\n'
        '[[sweep.rows]]\nname = "impossible"\ndepth = 9\n',
    )
    where = tmp_path / "s"
    assert run("sweep", messages, "--config", config, "--output", where) == 0
    shown = capsys.readouterr()
    assert "impossible failed: `depth` 9" in shown.out and "Winner on the test split, 12 texts" in shown.out
    result = json.loads((where / "sweep.json").read_text())
    states = {trial["name"]: trial["state"] for trial in result["trials"]}
    assert states == {
        "learning_rate=0.001": "complete",
        "learning_rate=0.01": "complete",
        "impossible": "failed",
    }
    values = [trial["value"] for trial in result["trials"][:2]]
    assert values == sorted(values)  # the lowest loss is the best
    best = json.loads((where / "best" / "metrics.json").read_text())
    assert best["test"] == result["winner"]["test"]
    assert best["validation"]["log_loss"] == pytest.approx(values[0], abs=1e-6)
    rows = rows_of(where / "sweep.csv")
    assert [row["rank"] for row in rows] == ["1", "2", "3"] and rows[2]["error"].startswith("`depth` 9")
    before = (where / "best" / "environment.json").read_bytes()
    assert (
        run("sweep", "--resume", where) == 0
        and run("sweep", messages, "--config", config, "--output", where) == 0
    )
    assert (where / "best" / "environment.json").read_bytes() == before  # nothing is retrained
    config.write_text(config.read_text().replace("1e-2", "2e-2"))
    capsys.readouterr()
    assert run("sweep", messages, "--config", config, "--output", where) == 1
    assert "other options" in capsys.readouterr().err


def test_trials_never_read_the_test_split(tmp_path, home, checkpoint, messages, monkeypatch):
    from finetext.experiments import read_sweep, sweep, sweep_run
    from finetext.training import Progress, run_trial

    test_probs = []

    def recorded(*arguments, **options):
        trial = run_trial(*arguments, **options)
        test_probs.append(trial.test)
        return trial

    monkeypatch.setattr(sweep_run, "run_trial", recorded)
    config = sweep_file(tmp_path, checkpoint("bert"), "[sweep.grid]\nseed = [1, 2]\n")
    notices, trials = [], []
    progress = Progress()
    progress.notice = notices.append
    progress.trial = lambda summary, done, total: trials.append((done, total))
    result = sweep(read_sweep(config, str(messages)), output=tmp_path / "s", progress=progress)
    assert [len(probs) for probs in test_probs] == [0, 0] and result.run.metrics.test.examples == 12
    assert any("not all were validated on the same texts" in text for text in notices)
    assert trials == [(1, 2), (2, 2)]


def test_a_search_prunes_bad_trials_and_is_reproducible(tmp_path, home, checkpoint, messages):
    from finetext.experiments import read_sweep, sweep

    config = sweep_file(
        tmp_path,
        checkpoint("bert"),
        '[sweep]\nmethod = "tpe"\ntrials = 8\nstartup = 2\nwarmup = 0\nmetric = "log_loss"\n[sweep.space]\n'
        "learning_rate = {low = 1e-6, high = 1e-1, log = true}\nbatch_size = [8, 16]\n"
        "lora_rank = {low = 2, high = 4}\n",
    )
    plan = read_sweep(config, str(messages))
    first, second = (sweep(plan, output=tmp_path / name) for name in "ab")
    assert len(first.trials) == 8 and {trial.state for trial in first.trials} == {"complete", "pruned"}
    assert [trial.options for trial in first.trials] == [trial.options for trial in second.trials]
    assert len({trial.options["learning_rate"] for trial in first.trials}) == 8
    assert all(2 <= trial.options["lora_rank"] <= 4 for trial in first.trials)
    assert all(trial.value is not None for trial in first.trials)  # of a pruned one after its last epoch


def test_a_sweep_without_a_completed_trial_fails(tmp_path, home, checkpoint, messages, capsys):
    config = sweep_file(tmp_path, checkpoint("bert"), "[sweep.grid]\ndepth = [8, 9]\n")
    assert run("sweep", messages, "--config", config, "--output", tmp_path / "s") == 1
    assert "no trial was completed" in capsys.readouterr().err
    assert run("sweep", messages) == 2
    assert "--config" in capsys.readouterr().err


def test_a_curve_refuses_options_without_effect(tmp_path, messages, capsys):
    assert run("curve", messages, "--output", tmp_path / "curve", "--calibrate", "--folds", 3) == 2
    assert "--calibrate, --folds would change nothing" in capsys.readouterr().err
    assert not (tmp_path / "curve").exists()
