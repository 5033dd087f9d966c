"""Resuming is refused if inputs have changed, and a failing run keeps its last good state."""

import csv
import json
import shutil

import pytest
import torch

import finetext
from finetext.errors import RunError
from finetext.models import load_bundle, predict_logits
from finetext.training.checkpoints import load_checkpoint
from finetext.training.progress import Progress
from finetext.training.verify import verify_bundle


class Stops(Progress):
    """Interrupts a run after some steps, like a crash."""

    def __init__(self, step):
        self.last = step

    def step(self, step):
        if step.number == self.last:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted_run(tmp_path, checkpoint, messages):
    """A run that was interrupted after its first checkpoints, with its own copies of model and data."""
    data = shutil.copy(messages, tmp_path / "messages.csv")
    model = shutil.copytree(checkpoint("bert"), tmp_path / "model")
    options = {"model": str(model), "epochs": 3, "save_every": 2, "trainable": "all", "batch_size": 8}
    with pytest.raises(KeyboardInterrupt):
        finetext.train(data, output=tmp_path / "run", progress=Stops(5), **options)
    return tmp_path / "run"


def test_an_interrupted_run_resumes(interrupted_run):
    run = finetext.resume(interrupted_run)
    assert run.folder.finished and not run.folder.checkpoints.exists()
    assert finetext.resume(interrupted_run).metrics == run.metrics


def edit_data(folder):
    path = folder / "messages.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0], rows[1].replace("win", "won"), *rows[2:]]) + "\n")


def edit_labels(folder):
    path = folder / "messages.csv"
    path.write_text(path.read_text().replace(",ham", ",fine"))


def edit_tokenizer(folder):
    path = folder / "model" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"String": "a"}, "content": "o"}
    path.write_text(json.dumps(content))


def edit_seed(folder):
    path = folder / "run" / "config.toml"
    path.write_text(path.read_text().replace("seed = 42", "seed = 43"))


@pytest.mark.parametrize(
    ("edit", "named"),
    [(edit_data, "data"), (edit_labels, "labels"), (edit_tokenizer, "tokenizer"), (edit_seed, "seed")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_resuming_with_changed_inputs_is_refused_and_names_them(interrupted_run, edit, named):
    edit(interrupted_run.parent)
    before = sorted(path.name for path in (interrupted_run / "checkpoints").iterdir())
    with pytest.raises(RunError, match="have changed") as caught:
        finetext.resume(interrupted_run)
    assert named in str(caught.value)
    assert sorted(path.name for path in (interrupted_run / "checkpoints").iterdir()) == before


def test_a_damaged_checkpoint_falls_back_to_the_previous_one_with_a_notice(interrupted_run):
    newest = max((interrupted_run / "checkpoints").glob("step-*"))
    (newest / "weights.safetensors").write_bytes(b"flipped")

    class Listener(Progress):
        notices = ()
        first = None

        def notice(self, text):
            self.notices = (*self.notices, text)

        def prepared(self, setup, inputs, first_step):
            self.first = first_step

    listener = Listener()
    finetext.resume(interrupted_run, progress=listener)
    assert listener.first == 2
    assert any(newest.name in text for text in listener.notices)
    with (interrupted_run / "history.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == list(range(1, len(steps) + 1))


def test_outputs_that_are_not_finite_end_with_one_line(tmp_path, checkpoint, messages):
    options = {"model": str(checkpoint("bert")), "epochs": 1, "trainable": "all", "optimizer": "sgd"}
    options |= {"learning_rate": 9.9, "max_gradient_norm": 0.0, "weight_decay": 9e37, "batch_size": 64}
    with pytest.raises(RunError, match=r"outputs are not finite.*--learning-rate"):
        finetext.train(messages, output=tmp_path / "run", warmup=0.0, **options)


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(tmp_path, checkpoint, messages):
    options = {"model": str(checkpoint("bert")), "epochs": 40, "trainable": "all", "optimizer": "sgd"}
    options |= {"learning_rate": 9.9, "max_gradient_norm": 0.0, "schedule": "constant", "weight_decay": 9e8}
    with pytest.raises(RunError, match="--learning-rate"):
        finetext.train(messages, output=tmp_path / "run", batch_size=8, warmup=0.0, **options)
    loaded, notices = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert notices == []
    assert all(tensor.isfinite().all() for tensor in loaded.weights.values())


def test_a_bundle_with_different_logits_fails_verification(trained):
    run = trained("bert")
    texts = ["win cash now", "tea at four"]
    logits = predict_logits(load_bundle(run.folder.model), texts)
    verify_bundle(run.folder.model, texts, logits)
    with pytest.raises(RunError, match=r"batched logits differ"):
        verify_bundle(run.folder.model, texts, logits + 0.01)
    with pytest.raises(RunError, match=r"fails verification"):
        verify_bundle(run.folder.path / "nothing", texts, logits)


def test_running_out_of_memory_gives_one_notice_and_the_run_finishes(tmp_path, checkpoint, messages):
    class Listener(Progress):
        notices = ()

        def notice(self, text):
            self.notices = (*self.notices, text)

        def prepared(self, setup, inputs, first_step):
            forward = setup.model.logits

            def small_memory(batch):
                if setup.model.network.training and batch.size > 2:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return forward(batch)

            setup.model.logits = small_memory

    listener = Listener()
    run = finetext.train(
        messages,
        output=tmp_path / "run",
        model=str(checkpoint("bert")),
        epochs=1,
        batch_size=8,
        progress=listener,
    )
    notices = [text for text in listener.notices if "out of memory" in text]
    assert len(notices) == 1 and "2 at a time" in notices[0] and "effective batch stays 8" in notices[0]
    assert run.folder.finished
