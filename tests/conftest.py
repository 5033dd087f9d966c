"""Tiny models and messages that all tests share."""

import atexit
import csv
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Examples are slow on a busy machine, hence no deadline; CI tries the same examples every time.
settings.register_profile("finetext", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("finetext")

# Set before anything imports torch: one thread per test process, and no access to the Hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["FINETEXT_HOME"] = tempfile.mkdtemp(prefix="finetext-tests-")  # not the user's own cache
atexit.register(shutil.rmtree, os.environ["FINETEXT_HOME"], ignore_errors=True)

SPAM = ("win cash now", "claim your gold prize", "reply yes to this offer", "call today for a reward")
HAM = ("tea at four", "the rain has stopped", "see you later then", "are we still on for home")


@pytest.fixture(autouse=True, scope="session")
def verification_in_this_process():
    """Verify bundles in the test process, because a fresh process takes seconds to import torch.

    Commands that run in a subprocess, and the tests of verification, use the real one.
    """
    from finetext.training import finalize
    from trainings import verify_in_this_process

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finalize, "verify_bundle", verify_in_this_process)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data sets; tests that need it are skipped without it."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the shared data sets")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A function that returns the folder of a tiny checkpoint of an architecture, created once."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def make(architecture: str) -> Path:
        from checkpoints import make_checkpoint

        path = folder / architecture
        return path if path.is_dir() else make_checkpoint(architecture, path)

    return make


@pytest.fixture(scope="session")
def messages(tmp_path_factory) -> Path:
    """A CSV file with 60 distinct messages, 24 of them spam."""
    path = tmp_path_factory.mktemp("data") / "messages.csv"
    rows = [(f"{SPAM[n % 4]} number {n}", "spam") for n in range(24)]
    rows += [(f"{HAM[n % 4]} number {n}", "ham") for n in range(36)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, checkpoint, messages):
    """A function that returns a finished run of an architecture, trained once."""
    runs = {}

    def make(architecture: str):
        from finetext.training import train

        if architecture not in runs:
            runs[architecture] = train(
                messages,
                output=tmp_path_factory.mktemp("runs") / architecture,
                model=str(checkpoint(architecture)),
                trainable="all",
                epochs=2,
                learning_rate=3e-3,
            )
        return runs[architecture]

    return make


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, checkpoint):
    """A function that returns the folder of a named bundle, created once."""
    import servers
    from finetext.decision import Decision

    folder = tmp_path_factory.mktemp("bundles")
    bert, gpt2 = checkpoint("bert"), checkpoint("gpt2")
    recipes = {
        "spam": lambda path: servers.bundle(path, bert, ("ham", "spam"), "binary"),
        # The only one whose logits differ much between texts.
        "clear": lambda path: servers.bundle(path, gpt2, ("ham", "spam"), "binary", seed=2),
        "careful": lambda path: servers.bundle(
            path, gpt2, "xyz", "multi-class", decision=Decision(abstain_below=0.6)
        ),
        "moods": lambda path: servers.bundle(
            path, bert, ("calm", "glad", "sad"), "multi-label", decision=Decision(thresholds=(0.4, 0.5, 0.6))
        ),
        "twelve": lambda path: servers.bundle(path, gpt2, servers.TWELVE, "multi-class", seed=4),
        "windows": lambda path: servers.bundle(path, bert, ("ham", "spam"), "binary", long_texts="windows"),
        "fragile": lambda path: servers.bundle(
            path, servers.fragile_checkpoint(bert, folder / "backbone"), ("ham", "spam"), "binary"
        ),
    }

    def make(name: str):
        path = folder / name
        return path if path.is_dir() else recipes[name](path)

    return make


@pytest.fixture(scope="session")
def library(bundles):
    """A function that returns the classifier of a named bundle, loaded once."""
    import finetext

    loaded = {}

    def load(name: str):
        if name not in loaded:
            loaded[name] = finetext.load(bundles(name), device="cpu")
        return loaded[name]

    return load
