"""Bundles that the tests of the server share."""

import pytest

import servers
from finetext.models import Decision


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, checkpoint):
    """A function that gives a bundle by name, made once."""
    folder = tmp_path_factory.mktemp("bundles")
    bert, gpt2 = checkpoint("bert"), checkpoint("gpt2")
    recipes = {
        "spam": lambda own: servers.bundle(own, bert, ("ham", "spam"), "binary"),
        # Of all these the one whose logits differ much from text to text.
        "clear": lambda own: servers.bundle(own, gpt2, ("ham", "spam"), "binary", seed=2),
        "careful": lambda own: servers.bundle(
            own, gpt2, "xyz", "multi-class", decision=Decision(abstain_below=0.6)
        ),
        "moods": lambda own: servers.bundle(
            own, bert, ("calm", "glad", "sad"), "multi-label", decision=Decision(thresholds=(0.4, 0.5, 0.6))
        ),
        "windows": lambda own: servers.bundle(own, bert, ("ham", "spam"), "binary", long_texts="windows"),
        "fragile": lambda own: servers.bundle(
            own, servers.fragile_checkpoint(bert, folder / "backbone"), ("ham", "spam"), "binary"
        ),
    }

    def make(name: str):
        own = folder / name
        return own if own.is_dir() else recipes[name](own)

    return make


@pytest.fixture(scope="session")
def library(bundles):
    """A function that gives the classifier of a bundle, loaded once."""
    import finetext

    loaded = {}

    def load(name: str):
        if name not in loaded:
            loaded[name] = finetext.load(bundles(name), device="cpu")
        return loaded[name]

    return load
