"""Learning curves and sweeps that are killed, interrupted or shared neither lose nor repeat trials."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest

SECONDS = 120


@pytest.fixture
def start():
    """A function that starts a command in a new process, which is killed after the test."""
    started = []

    def make(*words):
        command = [sys.executable, "-m", "finetext", *map(str, words)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-1]

    yield make
    for process in started:
        process.kill()
        if not process.stdout.closed:
            process.communicate()


def wait_for(process, reached):
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(process):
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    return out, err


def end(process):
    process.kill()
    process.communicate()


def lines_of(path):
    return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture
def sweep_words(tmp_path, checkpoint, messages):
    def make(tried, epochs=4):
        config = tmp_path / "sweep.toml"
        config.write_text(
            f'[model]\nmodel = "{checkpoint("bert")}"\ntrainable = "all"\n[train]\nepochs = {epochs}\n{tried}'
        )
        return ["sweep", messages, "--config", config, "--output", tmp_path / "s"]

    return make


ROWS = "[sweep.grid]\nlearning_rate = [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3]\n"
NAMES = {f"learning_rate=0.00{n}" for n in range(1, 7)}


def trials_in(folder):
    """Return the number, state and user attributes of the stored trials, read with plain Optuna."""
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    trials = optuna.load_study(study_name="sweep", storage=storage).get_trials()
    storage.remove_session()
    return [(trial.number, trial.state.name, trial.user_attrs) for trial in trials]


def states(folder):
    """Count the trials in every state, directly from the database, which is cheap enough for polling."""
    if not (folder / "study.db").is_file():
        return Counter()
    with contextlib.closing(sqlite3.connect(folder / "study.db", timeout=30)) as database:
        try:
            return Counter(state for (state,) in database.execute("select state from trials"))
        except sqlite3.OperationalError:  # its tables are being created
            return Counter()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_curve_keeps_its_finished_trials(tmp_path, checkpoint, messages, number, start):
    where = tmp_path / "c"
    words = ["curve", messages, "--model", checkpoint("bert"), "--sizes", "8,16,32", "--trials", "3"]
    process = start(*words, "--test-size", "20", "--epochs", "12", "--trainable", "all", "--output", where)
    wait_for(process, lambda: len(lines_of(where / "trials.jsonl")) >= 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert f"finetext curve --resume {where}" in err and "Traceback" not in err
    kept = lines_of(where / "trials.jsonl")
    assert 2 <= len(kept) < 9 and not (where / "curve.json").exists()
    _, err = finish(start("curve", "--resume", where))
    assert err.count(" of 9") == 9 - len(kept)
    assert lines_of(where / "trials.jsonl")[: len(kept)] == kept
    trials = json.loads((where / "curve.json").read_text())["trials"]
    assert [(trial["size"], trial["trial"]) for trial in trials] == [
        (s, n) for s in (8, 16, 32) for n in (1, 2, 3)
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_trial_of_a_sweep_is_retried(tmp_path, sweep_words, start):
    words, where = sweep_words(ROWS), tmp_path / "s"
    for least in (1, 3):
        process = start(*words)
        wait_for(process, lambda least=least: states(where)["COMPLETE"] >= least and states(where)["RUNNING"])
        end(process)
    killed = [attributes["name"] for _, state, attributes in trials_in(where) if state == "RUNNING"]
    finish(start("sweep", "--resume", where))
    trials = json.loads((where / "sweep.json").read_text())["trials"]
    assert Counter(trial["name"] for trial in trials) == Counter(NAMES)
    assert {trial["state"] for trial in trials} == {"complete"}
    ended = trials_in(where)
    assert Counter(trial["name"] for _, state, trial in ended if state == "COMPLETE") == Counter(NAMES)
    retries = [trial for _, _, trial in ended if "replaces" in trial]
    assert {trial["replaces"] for trial in retries} == {n for n, state, _ in ended if state == "FAIL"}
    assert set(killed) <= {trial["name"] for trial in retries}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kill", [False, True], ids=["both-live", "one-is-killed"])
def test_two_processes_share_a_sweep(tmp_path, sweep_words, kill, start):
    words, where = sweep_words(ROWS), tmp_path / "s"
    first = start(*words)
    second = start(*words)
    if kill:
        wait_for(second, lambda: states(where)["RUNNING"] == 2)
        end(first)
    else:
        finish(first)
    finish(second)
    ended = trials_in(where)
    complete = [trial for _, state, trial in ended if state == "COMPLETE"]
    assert Counter(trial["name"] for trial in complete) == Counter(NAMES)
    if kill:
        assert [state for _, state, _ in ended].count("FAIL") == 1
    else:
        assert len(ended) == 6 and len({trial["worker"] for trial in complete}) == 2
    assert json.loads((where / "best" / "metrics.json").read_text())["test"]["examples"] == 12


@pytest.mark.slow
def test_an_interrupted_search_requeues_its_trial(tmp_path, sweep_words, start):
    tried = '[sweep]\nmethod = "tpe"\ntrials = 5\n[sweep.space]\nlearning_rate = {low = 1e-4, high = 1e-2}\n'
    words, where = sweep_words(tried, epochs=30), tmp_path / "s"
    process = start(*words)
    wait_for(process, lambda: states(where)["COMPLETE"] >= 1 and states(where)["RUNNING"])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and f"finetext sweep --resume {where}" in err
    assert states(where)["RUNNING"] == 0 and states(where)["WAITING"] == 1
    waiting = next(trial for _, state, trial in trials_in(where) if state == "WAITING")
    finish(start(*words))
    trials = json.loads((where / "sweep.json").read_text())["trials"]
    assert len(trials) == 5 and waiting["name"] in {trial["name"] for trial in trials}


def test_a_trial_that_repeatedly_kills_its_process_is_abandoned(tmp_path, sweep_words):
    from finetext.experiments import read_sweep
    from finetext.experiments.folder import ExperimentFolder
    from finetext.experiments.study import MAX_ATTEMPTS, SharedStudy

    words = sweep_words("[sweep.grid]\nseed = [1]\n")
    plan = read_sweep(words[3], str(words[1]))
    (tmp_path / "s").mkdir()
    folder = ExperimentFolder(tmp_path / "s", "sweep")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        with contextlib.closing(SharedStudy(folder, plan)) as study:
            assert study.take().attempt == attempt  # and never completes
    with contextlib.closing(SharedStudy(folder, plan)) as study:
        assert study.take() is None and not study.left()
        (trial,) = study.ended()
    assert trial.state == "failed" and "killed 3 times" in trial.error
