"""What of a run is constant: the output of its frozen layers, computed once and stored."""

from collections.abc import Callable
from dataclasses import dataclass

from finetext import files
from finetext.cache import FeatureStore, Inputs, StoreFull, store_features
from finetext.engine import computes_bf16_fast
from finetext.errors import Interrupted
from finetext.models import make_trunk, trained_blocks
from finetext.training.config import TrainConfig
from finetext.training.defaults import resolve_epochs
from finetext.training.progress import Progress
from finetext.training.setup import Job
from finetext.training.signals import StopRequest


@dataclass(frozen=True)
class RunInputs:
    """What a run reads.

    Attributes:
        train: The training split after balancing.
        validation: The validation split.
        test: The test split, read once, at the end.
        cut: Index of the first layer that runs in training; 0 if all do.
        stored: Precision of the stored features: bf16 or fp32; None if there are none.
        computed_tokens: Tokens that went through the trunk; 0 if everything was stored already.
    """

    train: Inputs
    validation: Inputs
    test: Inputs
    cut: int = 0
    stored: str | None = None
    computed_tokens: int = 0


def prepare_inputs(
    job: Job,
    progress: Callable[[int, int], None],
    notice: Callable[[str], None],
    *,
    read_test: bool = True,
) -> RunInputs:
    """Store what the frozen layers give for every text of a run, where there are any.

    Args:
        job: The run.
        progress: Called with the tokens done and the tokens to do; may raise to stop.
        notice: Told why features are not stored, or that another process is computing them.
        read_test: Whether the test split will be labelled; if not, `test` stays empty.
    """
    model = job.model
    splits = {
        "train": job.encoded,
        "validation": job.encoded_validation,
        "test": model.encode(job.splits.test.texts if read_test else []),
    }
    whole = {name: model.inputs(encoded) for name, encoded in splits.items()}
    plain = RunInputs(whole["train"], whole["validation"], whole["test"])
    config = job.config
    cut = first_trained_layer(config, model.structure.depth, resolve_epochs(config, len(job.train)))
    if config.train.store == "none" or cut == 0:
        return plain
    arithmetic = trunk_arithmetic(job)
    dtype = stored_dtype(config)
    trunk = make_trunk(model, cut, arithmetic=arithmetic, dtype=dtype, revision=job.model_source.revision)
    if isinstance(trunk, str):
        notice(
            f"{type(model.network).__name__} cannot be cut after layer {cut} ({trunk}): "
            "its frozen layers run in every step."
        )
        return plain
    computed = 0

    def count(done: int, total: int) -> None:
        nonlocal computed
        computed = done
        progress(done, total)

    def waiting() -> None:
        notice("another process is computing the same features; waiting for it.")

    try:
        inputs = store_features(trunk, splits, feature_store(config.train.cache_limit), count, waiting)
    except StoreFull as error:
        model.uncut()
        notice(f"training without stored features: {error}.")
        return plain
    return RunInputs(inputs["train"], inputs["validation"], inputs["test"], cut, dtype, computed)


def read_inputs(job: Job, stop: StopRequest, progress: Progress, *, read_test: bool = True) -> RunInputs:
    """Prepare what a training reads; a signal stops it between two batches of the frozen layers."""

    def tell(done: int, total: int) -> None:
        progress.features(done, total)
        if stop.signal_number is not None:
            raise Interrupted(stop.message, stop.signal_number)

    inputs = prepare_inputs(job, tell, progress.notice, read_test=read_test)
    progress.ready(inputs)
    return inputs


def feature_store(limit: str | None = None) -> FeatureStore:
    """Return the store of the user, with a limit such as `20GB`, or its default."""
    return FeatureStore(files.cache_folder() / "features", None if limit is None else files.parse_size(limit))


def first_trained_layer(config: TrainConfig, depth: int, epochs: int) -> int:
    """Return the cut of a run: the index of the first layer that is trained in any of its epochs."""
    mode = config.model.trainable
    if mode in ("all", "lora") or depth == 0:
        return 0
    return depth - trained_blocks(mode, depth, epochs - 1)


def stored_dtype(config: TrainConfig) -> str:
    """Return the precision in which features are stored."""
    if config.train.store == "auto":
        return "fp32" if config.train.precision == "fp32" else "bf16"
    return config.train.store


def trunk_arithmetic(job: Job) -> str:
    """Return the precision of the frozen layers' products: bf16 where that is fast and nothing else was asked for."""
    asked = job.config.train.precision
    low = asked == "bf16" or (asked in ("auto", "fp16") and computes_bf16_fast(job.model.device))
    return "bf16" if low and stored_dtype(job.config) == "bf16" else "fp32"
