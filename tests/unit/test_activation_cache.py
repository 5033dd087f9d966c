"""The activation cache returns what was stored, whatever happens to its files."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import finetext
from finetext import files
from finetext.cache import ActivationCache, CacheFull, Inputs, cache_features
from finetext.cache.activations import window_digest
from finetext.errors import UsageError
from finetext.models import find_model, load_model, make_trunk
from finetext.models.config import ModelConfig

KEY = {"weights": "w", "cut": "1"}
TEXTS = ["win a prize now", "tea", "the rain has stopped " * 4, "call home"]


def nobody_waits():
    raise AssertionError("no other process holds the entry")


def put(cache, rows, key=KEY, dtype="fp32"):
    """Cache rows of two numbers for some windows; return how many were missing, and the features."""
    width = 2
    with cache.entry(key, width, dtype, nobody_waits) as entry:
        digests = [window_digest([number]) for number in rows]
        missing = entry.missing(digests)
        if missing:
            with entry.writing(sum(len(rows[list(rows)[place]]) for place in missing)) as writer:
                for place in missing:
                    writer.add(digests[place], torch.tensor(rows[list(rows)[place]]).reshape(-1, width))
        return len(missing), entry.features(digests)


ROWS = {1: [[1.0, 2.0]], 2: [[3.0, 4.0], [5.0, 6.0]]}


def test_cached_features_are_read_back_padded_with_zeros(tmp_path):
    cache = ActivationCache(tmp_path)
    assert put(cache, ROWS)[0] == 2
    missing, features = put(cache, ROWS)
    assert missing == 0
    assert features.hidden([1, 0]).tolist() == [[[3, 4], [5, 6]], [[1, 2], [0, 0]]]


@given(st.dictionaries(st.integers(0, 50), st.integers(1, 9), min_size=1), st.sampled_from(["bf16", "fp32"]))
def test_cached_windows_are_read_back_in_any_order(tmp_path_factory, counts, dtype):
    cache = ActivationCache(tmp_path_factory.mktemp("store"))
    rows = {
        number: torch.randn(count, 2, generator=torch.Generator().manual_seed(number)).tolist()
        for number, count in counts.items()
    }
    half = dict(list(rows.items())[: len(rows) // 2])
    if half:
        put(cache, half, dtype=dtype)
    missing, features = put(cache, rows, dtype=dtype)
    assert missing == len(rows) - len(half)
    for place, row in enumerate(rows.values()):
        expected = torch.tensor(row)
        if dtype == "bf16":
            expected = expected.bfloat16().float()
        assert torch.equal(features.hidden([place])[0], expected)


def test_another_key_is_a_cache_miss(tmp_path):
    cache = ActivationCache(tmp_path)
    put(cache, ROWS)
    assert put(cache, ROWS, {**KEY, "cut": "2"})[0] == 2
    assert put(cache, ROWS, dtype="bf16")[0] == 2
    assert put(cache, {3: [[1.0, 1.0]]})[0] == 1


@pytest.mark.parametrize("name", ["bin", "npz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_segment_is_dropped_and_rewritten(tmp_path, name, damage):
    cache = ActivationCache(tmp_path)
    put(cache, ROWS)
    (path,) = tmp_path.glob(f"*/*.{name}")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 0x40
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-3], "empty": b""}.get(damage, content))
    missing, features = put(cache, ROWS)
    assert missing == 2
    assert features.hidden([0]).tolist() == [[[1, 2]]]
    assert put(cache, ROWS)[0] == 0
    assert len(list(tmp_path.glob("*/*.bin"))) == 1 + (name == "npz" and damage == "gone")


def test_the_unfinished_segment_of_a_killed_process_is_removed(tmp_path):
    cache = ActivationCache(tmp_path)
    put(cache, ROWS)
    (entry,) = (path.parent for path in tmp_path.glob("*/*.bin"))
    (entry / "4711.tmp").write_bytes(b"half")
    assert put(cache, ROWS)[0] == 0
    assert not list(entry.glob("*.tmp"))


def test_features_computed_before_an_interruption_are_kept(tmp_path):
    cache = ActivationCache(tmp_path)
    with pytest.raises(KeyboardInterrupt), cache.entry(KEY, 2, "fp32", nobody_waits) as entry:
        with entry.writing(3) as writer:
            writer.add(window_digest([1]), torch.tensor([[1.0, 2.0]]))
            raise KeyboardInterrupt
    missing, features = put(cache, ROWS)
    assert missing == 1
    assert features.hidden([0]).tolist() == [[[1, 2]]]


def test_the_least_recently_used_entries_are_evicted(tmp_path):
    cache = ActivationCache(tmp_path)
    for cut in ("1", "2"):
        put(cache, {n: [[0.0, 0.0]] * 100 for n in range(5)}, {"cut": cut})
    old, new = sorted(cache.entries(), key=lambda entry: entry.used)
    limited = ActivationCache(tmp_path, new.size_bytes * 2 + 100)
    put(limited, {n: [[0.0, 0.0]] * 90 for n in range(5)}, {"cut": "3"})
    names = {entry.name for entry in cache.entries()}
    assert old.name not in names and new.name in names and len(names) == 2
    assert cache.size_bytes() <= limited.limit_bytes + 1000


def test_an_entry_too_large_for_the_cache_is_refused_and_evicts_nothing(tmp_path):
    put(ActivationCache(tmp_path), ROWS)
    with pytest.raises(CacheFull, match="limit of"):
        put(ActivationCache(tmp_path, 5_000), {9: [[0.0, 0.0]] * 10_000}, {"cut": "9"})
    assert put(ActivationCache(tmp_path), ROWS)[0] == 0


def test_a_second_process_waits_for_a_locked_entry_and_reads_it(tmp_path):
    cache = ActivationCache(tmp_path)
    waited, missing = [], []

    def second():
        with ActivationCache(tmp_path).entry(KEY, 2, "fp32", lambda: waited.append(1)) as entry:
            missing.append(len(entry.missing([window_digest([1])])))

    with cache.entry(KEY, 2, "fp32", nobody_waits) as entry:
        thread = threading.Thread(target=second)
        thread.start()
        while not waited:
            pass
        with entry.writing(1) as writer:
            writer.add(window_digest([1]), torch.tensor([[1.0, 2.0]]))
    thread.join()
    assert missing == [0]


def test_clearing_keeps_an_entry_that_another_process_is_writing(tmp_path):
    cache = ActivationCache(tmp_path)
    put(cache, ROWS, {"cut": "7"})
    with cache.entry(KEY, 2, "fp32", nobody_waits):
        assert cache.clear() > 0
        assert [entry.key["cut"] for entry in cache.entries()] == ["1"]
    cache.clear()
    assert cache.entries() == []


def test_memory_mapped_features_survive_clearing(tmp_path):
    cache = ActivationCache(tmp_path)
    _, features = put(cache, ROWS)
    cache.clear()
    assert features.hidden([0]).tolist() == [[[1, 2]]]


@pytest.fixture
def stored(tmp_path, checkpoint):
    """A function that caches the features of TEXTS for a tiny model and counts the passes through the frozen layers."""

    def run(architecture="gpt2", *, cut=1, texts=TEXTS, seed=1, dtype="fp32", change=None, **options):
        options = {"dropout": 0.0} | options
        source = find_model(str(checkpoint(architecture)))
        model = load_model(source, ("a", "b"), "binary", ModelConfig(**options), seed=seed)
        if change is not None:
            change(model)
        trunk = make_trunk(model, cut, arithmetic=dtype, dtype=dtype)
        runs = []
        layer = model.structure.layers[0]
        layer.register_forward_pre_hook(lambda *_: runs.append(1))
        splits = {"train": model.encode(texts[:-1]), "test": model.encode(texts[-1:])}
        inputs = cache_features(trunk, splits, ActivationCache(tmp_path), lambda *_: None, nobody_waits)
        return len(runs), model, inputs

    return run


def test_a_new_head_on_cached_features_does_not_run_the_frozen_layers(stored):
    assert stored(seed=1)[0] > 0
    assert stored(seed=2)[0] == 0
    assert stored(seed=3, texts=TEXTS[::-1])[0] == 0
    assert stored(seed=3, texts=[*TEXTS, "one new text"])[0] == 1


def test_changing_any_part_of_the_key_is_a_cache_miss(stored):
    def other_weights(model):
        with torch.no_grad():
            next(iter(model.structure.layers[0].parameters())).add_(1e-3)

    def other_tokenizer(model):
        model.tokenizer.add_tokens(["zebra"])

    assert stored()[0] > 0
    assert stored()[0] == 0
    for changed in (
        {"change": other_weights},
        {"change": other_tokenizer},
        {"max_length": 32},
        {"max_length": 33, "long_texts": "head-tail"},
        {"cut": 2},
        {"cut": 2, "pooling": "mean"},
        {"pooling": "mean"},
        {"dtype": "bf16"},
        {"texts": ["another text", *TEXTS]},
    ):
        assert stored(**changed)[0] > 0, changed
        assert stored(**changed)[0] == 0, changed


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("long_texts", ["truncate", "windows"])
@pytest.mark.parametrize("architecture", ["gpt2", "bert", "llama", "deberta-v2"])
def test_logits_from_cached_features_match_the_whole_model(stored, architecture, cut, long_texts):
    _, model, inputs = stored(architecture, cut=cut, long_texts=long_texts, max_length=8)
    model.network.eval()
    plain = model.inputs(model.encode(TEXTS[:-1]))
    with torch.no_grad():
        expected = model.logits(plain.batch([2, 0, 1]))
        logits = model.logits(inputs["train"].batch([2, 0, 1]))
    assert np.allclose(logits, expected, atol=1e-5 * max(1.0, float(expected.abs().max())), rtol=0)
    assert isinstance(inputs["train"], Inputs) and inputs["train"].features is not None


def test_cache_limits_are_parsed():
    assert files.parse_size("20GB") == 20 * 10**9
    assert files.parse_size("1.5 mb") == 1_500_000
    assert files.parse_size("800") == 800
    assert files.parse_size("2T") == 2 * 10**12
    with pytest.raises(UsageError, match="20GB"):
        files.parse_size("much")


def test_training_over_the_cache_limit_runs_without_the_cache_and_says_so(
    tmp_path, checkpoint, messages, monkeypatch
):
    from finetext.training import Progress

    monkeypatch.setenv("FINETEXT_HOME", str(tmp_path / "home"))  # an empty cache

    class Listener(Progress):
        def __init__(self):
            self.notices = []

        def notice(self, text):
            self.notices.append(text)

    listener = Listener()
    run = finetext.train(
        messages,
        output=tmp_path / "run",
        model=str(checkpoint("gpt2")),
        epochs=1,
        cache_limit="2KB",
        trainable="last-block",
        progress=listener,
    )
    assert run.folder.finished
    assert any("without cached activations" in text for text in listener.notices)
