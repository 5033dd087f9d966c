"""SIGINT and SIGTERM leave a valid checkpoint; a second signal exits immediately."""

import signal
import subprocess
import sys
import time

import pytest

from finetext.training.checkpoints import load_checkpoint

LONG = ["--epochs", "2000", "--batch-size", "4", "--trainable", "all", "--learning-rate", "1e-6"]


@pytest.fixture
def running(tmp_path, checkpoint, messages):
    """A training process after its first steps."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "finetext", "train", str(messages), "--model", str(checkpoint("bert"))]
    process = subprocess.Popen(
        [*command, "--output", str(run), *LONG],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    deadline = time.monotonic() + 120
    while not (run / "history.csv").is_file() or len((run / "history.csv").read_text().splitlines()) < 5:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield process, run
    process.kill()
    process.wait()
    process.stderr.close()
    process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_a_valid_checkpoint(running, number, capsys):
    process, run = running
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    error = process.stderr.read()
    assert f"--resume {run}" in error
    assert "Traceback" not in error
    loaded, notices = load_checkpoint(run / "checkpoints")
    assert loaded.step >= 1 and notices == []
    steps = [int(line.split(",")[0]) for line in (run / "history.csv").read_text().splitlines()[1:]]
    assert steps == list(range(1, loaded.step + 1))


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_refused_while_the_first_is_running(running):
    process, run = running
    command = [sys.executable, "-m", "finetext", "train"]
    second = subprocess.run(
        [*command, "--resume", str(run)], capture_output=True, encoding="utf-8", check=False
    )
    assert second.returncode == 1 and "another process" in second.stderr
    third = subprocess.run(
        [*command, "sample", "--output", str(run)], capture_output=True, encoding="utf-8", check=False
    )
    assert third.returncode == 2 and "--resume" in third.stderr
    assert process.poll() is None


@pytest.mark.slow
def test_a_second_signal_exits_immediately(running):
    process, _ = running
    process.send_signal(signal.SIGSTOP)  # so that both signals arrive before a step ends
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert process.wait(30) in (130, 143)
