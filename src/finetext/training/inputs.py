"""What a run reads: token ids, or the activations of the frozen layers, computed once and cached."""

from finetext import files
from finetext.cache import ActivationCache, CacheFull, cache_features
from finetext.models import make_trunk
from finetext.training.progress import Progress
from finetext.training.setup import RunInputs, Setup
from finetext.training.signals import StopRequest


def cache_frozen_layers(
    setup: Setup,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    *,
    read_test: bool = True,
) -> RunInputs:
    """Run every text of a run through the frozen layers and cache their activations, where the plan says so.

    Args:
        setup: The run.
        progress: Told how far it is, and why nothing is cached.
        stop: Checked between two batches.
        read_test: Whether the test split will be labelled; if not, `test` stays empty.

    Raises:
        Interrupted: `stop` was requested; what is done stays cached.
    """
    model, plan = setup.model, setup.plan
    progress = progress or Progress()
    splits = {
        "train": setup.encoded,
        "validation": setup.encoded_validation,
        "test": model.encode(setup.splits.test.texts if read_test else []),
    }
    tokens = {name: model.inputs(encoded) for name, encoded in splits.items()}
    uncached = RunInputs(tokens["train"], tokens["validation"], tokens["test"])
    if plan.cache_dtype is None:
        return uncached
    arithmetic, revision = plan.frozen_precision, setup.model_source.revision
    trunk = make_trunk(model, plan.cut, arithmetic=arithmetic, dtype=plan.cache_dtype, revision=revision)
    if isinstance(trunk, str):
        progress.notice(
            f"{type(model.network).__name__} cannot be cut after layer {plan.cut} ({trunk}): "
            "its frozen layers run in every step."
        )
        return uncached
    cache, computed = activation_cache(setup.config.train.cache_limit), 0

    def count(done: int, total: int) -> None:
        nonlocal computed
        computed = done
        progress.features(done, total)
        if stop is not None:
            stop.raise_if_requested()

    waiting = "another process is computing the same activations; waiting for it."
    try:
        inputs = cache_features(trunk, splits, cache, count, lambda: progress.notice(waiting))
    except CacheFull as error:
        model.uncut()
        progress.notice(f"training without cached activations: {error}.")
        return uncached
    return RunInputs(**inputs, cut=plan.cut, stored=plan.cache_dtype, computed_tokens=computed)


def activation_cache(limit: str | None = None) -> ActivationCache:
    """Return the user's cache of activations, with a limit such as `20GB`, or its default."""
    limit_bytes = None if limit is None else files.parse_size(limit)
    return ActivationCache(files.cache_folder() / "features", limit_bytes)
