"""A run that is killed at random moments, also while saving, resumes to the same result."""

import csv
import multiprocessing
import random
import time
from pathlib import Path

import pytest

from trainings import verify_in_this_process

KILLS = 20
OPTIONS = {
    "epochs": 3,
    "batch_size": 4,
    "save_every": 2,
    "eval_every": 5,
    "learning_rate": 1e-3,
    "dropout": 0.2,
    "trainable": "all",
    "device": "cpu",
    "precision": "fp32",
}

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["finetext.training.api", "finetext.training.trainer", "peft"])


def work(data: str, model: str, output: str) -> None:
    """Train into `output`, or resume there; runs in the process that is killed."""
    import torch

    from finetext.training import finalize, resume, train

    torch.set_num_threads(1)
    finalize.verify_bundle = verify_in_this_process  # most of a run's time would be that of a fresh process
    if (Path(output) / "config.toml").is_file():
        resume(output)
    else:
        train(data, output=output, model=model, **OPTIONS)


def run_for(seconds: float | None, arguments: tuple[str, ...]) -> bool:
    """Run `work`, kill it with SIGKILL after some time, and return whether it had finished before."""
    process = processes.Process(target=work, args=arguments)
    process.start()
    process.join(seconds)
    ended = process.exitcode is not None
    if not ended:
        process.kill()
    process.join()
    if ended:
        assert process.exitcode == 0
    return ended


def losses(run: Path) -> list[tuple[str, str]]:
    with (run / "history.csv").open(newline="") as file:
        return [(row["step"], row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_do_not_change_the_result(tmp_path, checkpoint, messages):
    arguments = (str(messages), str(checkpoint("bert")))
    reference = tmp_path / "reference"
    began = time.perf_counter()
    assert run_for(None, (*arguments, str(reference)))
    whole = time.perf_counter() - began
    expected = losses(reference)
    weights = (reference / "model" / "model.safetensors").read_bytes()

    moments = random.Random(7)
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        run = tmp_path / f"run-{runs}"
        ended = False
        while not ended:
            last_one = kills >= KILLS
            ended = run_for(None if last_one else moments.uniform(0.05, 0.6) * whole, (*arguments, str(run)))
            kills += not ended
        assert losses(run) == expected
        assert (run / "model" / "model.safetensors").read_bytes() == weights
        assert not (run / "checkpoints").exists()
