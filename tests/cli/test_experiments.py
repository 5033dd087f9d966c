"""`curve`, `compare` and `sweep` from the command to their files."""

import csv
import json
import re
import shutil

import pytest
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
    """Two runs on the same splits and one on others."""
    from finetext.training import train

    folder = tmp_path_factory.mktemp("compared")
    options = {"model": str(checkpoint("bert")), "epochs": 1, "trainable": "head"}
    train(messages, output=folder / "a", **options)
    train(messages, output=folder / "b", **options | {"trainable": "all", "learning_rate": 3e-3, "epochs": 4})
    train(messages, output=folder / "other", seed=7, **options)
    return folder


def test_a_curve_leaves_its_files_and_prints_its_table(tmp_path, home, checkpoint, messages, capsys):
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
    found = json.loads((tmp_path / "c" / "curve.json").read_text())
    assert [(own["size"], own["trial"]) for own in found["trials"]] == [(8, 1), (8, 2), (16, 1), (16, 2)]
    assert all(
        own["train"] + own["validation"] == own["size"] and own["test"] == 20 for own in found["trials"]
    )
    row = next(own for own in rows_of(tmp_path / "c" / "curve.csv") if own["metric"] == "accuracy")
    mine = [own["model"]["accuracy"] for own in found["trials"] if own["size"] == 8]
    assert float(row["model"]) == pytest.approx(sum(mine) / 2)
    assert "<svg" in (tmp_path / "c" / "curve.svg").read_text()
    assert (tmp_path / "c" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_texts_go_through_the_frozen_layers_once_for_the_whole_curve(tmp_path, home, checkpoint, messages):
    from finetext.data import DataConfig, read
    from finetext.experiments.subsets import Pool
    from finetext.models import find_model, load_model
    from finetext.models.config import ModelConfig

    model = str(checkpoint("gpt2"))
    options = {"model": model, "trainable": "last-block", "epochs": 1}
    sizes, trials, tests = [8, 16, 32], 3, 15
    found = learning_curve(
        messages, sizes=sizes, trials=trials, test_size=tests, output=tmp_path / "c", **options
    )
    dataset = read(messages, DataConfig())
    pool = Pool(dataset, DataConfig(), 42)
    draws = [pool.draw(size, tests, number) for size in sizes for number in range(1, trials + 1)]
    encode = load_model(find_model(model), dataset.class_names, dataset.task, ModelConfig(), 42).encode
    drawn = {tuple(windows[0]) for draw in draws for windows in encode(draw.dataset.texts)}
    assert sum(own.computed_tokens for own in found.trials) == sum(map(len, drawn))
    assert sum(len(draw.dataset) for draw in draws) > 2 * len(drawn)


def test_a_trial_of_a_curve_is_a_training_on_that_draw(tmp_path, home, checkpoint, messages):
    from finetext.data import DataConfig, read
    from finetext.experiments.subsets import Pool
    from finetext.training import TrainConfig, override, run_trial

    options = {"model": str(checkpoint("bert")), "trainable": "last-block", "epochs": 2}
    found = learning_curve(messages, sizes=[20], trials=2, test_size=20, output=tmp_path / "c", **options)
    draw = Pool(read(messages, DataConfig()), DataConfig(), 42).draw(20, 20, 2)
    config = override(TrainConfig(), options | {"source": str(messages), "seed": 43})
    trial = run_trial(config, (draw.dataset, draw.splits))
    assert found.trials[1].model["log_loss"] == pytest.approx(trial.test_metrics().log_loss, abs=1e-6)


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
def test_a_curve_that_cannot_be_drawn_says_why(tmp_path, monkeypatch, messages, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    words = ["--test-size", "9", *words] if "--sizes" in words else words
    assert run("curve", *([] if "--resume" in words else [messages]), *words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "curves").exists()


def test_a_curve_goes_on_with_its_own_options_only(tmp_path, home, checkpoint, messages, capsys):
    data = shutil.copy(messages, tmp_path / "m.csv")
    model, where = checkpoint("bert"), tmp_path / "c"
    words = ["--model", model, "--sizes", "8,16", "--trials", "2", "--test-size", "20", *HEAD]
    assert run("curve", data, *words, "--output", where) == 0
    log = (where / "trials.jsonl").read_text().splitlines()
    (where / "trials.jsonl").write_text("\n".join(log[:3]) + "\n")  # as if killed in the fourth trial
    (where / "curve.json").unlink()
    capsys.readouterr()
    assert run("curve", "--resume", where, "--trials", "2", "--epochs", "1") == 0
    assert capsys.readouterr().err.count(" of 4") == 1
    again = [json.loads(line) for line in (where / "trials.jsonl").read_text().splitlines()]
    first = [json.loads(line) for line in log]
    assert [own["model"] for own in again] == [pytest.approx(own["model"], abs=1e-6) for own in first]
    with pytest.raises(RunError, match="--sizes, --trials would differ"):
        resume_curve(where, sizes=[8], trials=3)
    with pytest.raises(RunError, match="--epochs would differ"):
        resume_curve(where, epochs=2)
    assert run("curve", data, *words, "--output", where) == 2
    assert "--resume" in capsys.readouterr().err
    data.write_text(data.read_text().replace("win", "won"))
    with pytest.raises(RunError, match="data have changed"):
        resume_curve(where)


def test_runs_stand_side_by_side_with_paired_differences(tmp_path, runs, capsys):
    page, numbers = tmp_path / "page.html", tmp_path / "c.json"
    assert run("compare", runs / "a", runs / "b", "--html", page, "--json", numbers) == 0
    shown = capsys.readouterr().out
    assert "The same 12 test texts" in shown and "McNemar" in shown and "last" not in shown
    found = json.loads(numbers.read_text())
    for own, name in zip(found["entrants"], "ab", strict=True):
        metrics = json.loads((runs / name / "metrics.json").read_text())["test"]
        for figure in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "mcc"):
            assert own[figure] == pytest.approx(metrics[figure])
        assert own["log_loss"] == pytest.approx(metrics["log_loss"], abs=1e-5)
        rows = rows_of(runs / name / "predictions.csv")
        assert own["mcc"] == pytest.approx(
            sk.matthews_corrcoef([r["label"] for r in rows], [r["predicted"] for r in rows])
        )
        assert own["train_seconds"] > 0 and own["parameters"] > 1000 and own["trainable"] in ("head", "all")
    (beside,) = found["against"]
    first, second = found["entrants"]
    for figure, own in beside["differences"].items():
        assert own["difference"] == pytest.approx(second[figure] - first[figure])
        assert own["low"] <= own["difference"] <= own["high"]
    html = page.read_text()
    assert "<script" not in html and "http" not in html and "prefers-color-scheme" in html
    assert f"{second['macro_f1']:.4f}" in html and "@media print" in html
    assert run("compare", runs / "a", runs / "b", "--html", page) == 2


def test_the_reference_can_be_the_best_and_names_are_escaped(tmp_path, runs, capsys):
    hostile = shutil.copytree(runs / "a", tmp_path / "<img src=x onerror=alert(1)>")
    assert run("compare", hostile, runs / "b", "--reference", "best", "--html", tmp_path / "p.html") == 0
    assert "<img" not in (tmp_path / "p.html").read_text()
    found = compare([hostile, runs / "b"], best=True)
    best = max(found.entrants, key=lambda own: own.accuracy)
    assert found.reference == best.name and len(found.against) == 1


def test_a_folder_with_figures_and_predictions_is_enough_in_any_order_of_rows(tmp_path, runs):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "metrics.json").write_text("{}")
    head, *body = (runs / "b" / "predictions.csv").read_text().splitlines()
    (bare / "predictions.csv").write_text("\n".join([head, *reversed(body)]) + "\n")
    found = compare([runs / "a", bare])
    whole = compare([runs / "a", runs / "b"])
    assert found.against[0].differences == whole.against[0].differences
    assert found.entrants[1].log_loss == pytest.approx(whole.entrants[1].log_loss)
    assert found.entrants[1].parameters is None and found.entrants[1].model is None


def test_what_was_not_tested_on_the_same_texts_is_not_compared(tmp_path, runs, capsys):
    with pytest.raises(DataError, match="not tested on the texts"):
        compare([runs / "a", runs / "other"])
    changed = shutil.copytree(runs / "b", tmp_path / "changed")
    text = (changed / "predictions.csv").read_text()
    (changed / "predictions.csv").write_text(re.sub("^([^,]*),ham,", r"\1,spam,", text, count=1, flags=re.M))
    with pytest.raises(DataError, match="another label"):
        compare([runs / "a", changed])
    (changed / "predictions.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no file of predictions"):
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


def test_a_grid_is_tried_and_the_winner_alone_is_tested(tmp_path, home, checkpoint, messages, capsys):
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
    found = json.loads((where / "sweep.json").read_text())
    states = {own["name"]: own["state"] for own in found["trials"]}
    assert states == {
        "learning_rate=0.001": "complete",
        "learning_rate=0.01": "complete",
        "impossible": "failed",
    }
    values = [own["value"] for own in found["trials"][:2]]
    assert values == sorted(values)  # of a loss the least is the best
    best = json.loads((where / "best" / "metrics.json").read_text())
    assert best["test"] == found["winner"]["test"]
    assert best["validation"]["log_loss"] == pytest.approx(values[0], abs=1e-6)
    rows = rows_of(where / "sweep.csv")
    assert [row["rank"] for row in rows] == ["1", "2", "3"] and rows[2]["error"].startswith("`depth` 9")
    before = (where / "best" / "environment.json").read_bytes()
    assert (
        run("sweep", "--resume", where) == 0
        and run("sweep", messages, "--config", config, "--output", where) == 0
    )
    assert (where / "best" / "environment.json").read_bytes() == before  # nothing is trained twice
    config.write_text(config.read_text().replace("1e-2", "2e-2"))
    capsys.readouterr()
    assert run("sweep", messages, "--config", config, "--output", where) == 1
    assert "other options" in capsys.readouterr().err


def test_no_trial_reads_the_test_split(tmp_path, home, checkpoint, messages, monkeypatch):
    from finetext.experiments import read_sweep, sweep
    from finetext.experiments import sweep_run as sweeping

    read = []

    def watched(*arguments, **options):
        found = original(*arguments, **options)
        read.append(found.test)
        return found

    original = sweeping.run_trial
    monkeypatch.setattr(sweeping, "run_trial", watched)
    config = sweep_file(tmp_path, checkpoint("bert"), "[sweep.grid]\nseed = [1, 2]\n")
    lines = []
    found = sweep(read_sweep(config, str(messages)), output=tmp_path / "s", progress=lines.append)
    assert read == [None, None] and found.run.metrics.test.examples == 12
    assert any("not all were validated on the same texts" in line for line in lines)


def test_a_search_stops_what_is_worse_and_draws_the_same_again(tmp_path, home, checkpoint, messages):
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
    assert len(first.trials) == 8 and {own.state for own in first.trials} == {"complete", "pruned"}
    assert [own.options for own in first.trials] == [own.options for own in second.trials]
    assert len({own.options["learning_rate"] for own in first.trials}) == 8
    assert all(2 <= own.options["lora_rank"] <= 4 for own in first.trials)


def test_a_sweep_of_nothing_but_failures_says_so(tmp_path, home, checkpoint, messages, capsys):
    config = sweep_file(tmp_path, checkpoint("bert"), "[sweep.grid]\ndepth = [8, 9]\n")
    assert run("sweep", messages, "--config", config, "--output", tmp_path / "s") == 1
    assert "no trial was completed" in capsys.readouterr().err
    assert run("sweep", messages) == 2
    assert "--config" in capsys.readouterr().err


def test_a_curve_refuses_options_that_it_would_not_heed(tmp_path, messages, capsys):
    assert run("curve", messages, "--output", tmp_path / "curve", "--calibrate", "--folds", 3) == 2
    assert "--calibrate, --folds would change nothing" in capsys.readouterr().err
    assert not (tmp_path / "curve").exists()
