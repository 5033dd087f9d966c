"""Loading a backbone and giving it a fresh head."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from finetext.engine import FastPath, use_fast_kernels
from finetext.errors import ModelError, first_line
from finetext.models.catalogue import ALIASES
from finetext.models.config import ModelConfig
from finetext.models.layer_outputs import shorten
from finetext.models.model import BundleSettings, Model
from finetext.models.resolve import ModelSource
from finetext.models.structure import find_structure
from finetext.models.tokenization import choose_limit, choose_pad_token, load_tokenizer, position_limit

OPTIONAL_PATHS = ("fused GELU", "bf16 products", "concurrent batches")
"""Fast paths that a model lacks by design, or for the machine's sake: no notice says so."""


def load_model(
    source: ModelSource, class_names: tuple[str, ...], task: str, config: ModelConfig, seed: int
) -> Model:
    """Load a backbone for training, with a fresh head in float32 on the CPU.

    Args:
        source: What `find_model` found.
        class_names: The classes in the order of their ids.
        task: binary, multi-class or multi-label.
        config: The options of the model.
        seed: Of the head's weights, and of all weights with `weights = random`.

    Raises:
        ModelError: The model is damaged or of a kind that cannot be used.
        UsageError: An option does not fit the model.
    """
    from transformers import AutoModelForSequenceClassification as Classifier

    settings, tokenizer = load_companions(source.folder)
    same_classes = class_names_of(settings) == class_names
    had_head = is_classifier(settings.architectures)
    settings.id2label = dict(enumerate(class_names))
    settings.label2id = {name: index for index, name in enumerate(class_names)}
    kind = "multi" if task == "multi-label" else "single"
    settings.problem_type = f"{kind}_label_classification"
    if isinstance(config.depth, int):
        shorten(settings, config.depth)
    if config.dropout is not None:
        set_dropout(settings, config.dropout)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.weights == "random":
            network = Classifier.from_config(settings, dtype=torch.float32)
        else:
            network = read_weights(Classifier, source.folder, settings, config.allow_pickle, fresh_head=True)
            if had_head and not same_classes:
                _renew_head(network, settings)
    limit = choose_limit(config.max_length, position_limit(settings, network))
    bundle = BundleSettings(task, config.pooling, limit, config.long_texts, config.window_pooling)
    model = assemble(network, tokenizer, class_names, bundle)
    if source.name in ALIASES and config.pooling == "native":
        model.notices += [
            f"{source.name} runs without a fast path, {name}: {path.reason}."
            for name, path in model.fast_paths().items()
            if not path.on and name not in OPTIONAL_PATHS
        ]
    if not model.structure.layers:
        model.notices.append(
            f"{type(network).__name__} has no separate layer for each depth; all of it is trained together."
        )
    return model


def fast_paths(source: ModelSource, *, allow_pickle: bool = False) -> dict[str, FastPath]:
    """Return which fast paths a model would be trained on, with a fresh head for two classes.

    Args:
        source: What `find_model` found.
        allow_pickle: Accept a folder without safetensors.
    """
    config = ModelConfig(model=source.name, allow_pickle=allow_pickle)
    return load_model(source, ("0", "1"), "binary", config, seed=0).fast_paths()


def assemble(network: Any, tokenizer: Any, class_names: tuple[str, ...], settings: BundleSettings) -> Model:
    """Put a loaded network and its tokenizer together."""
    rows = network.get_input_embeddings().num_embeddings
    if tokenizer.vocab_size and len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the model only {rows}. They do not belong together."
        )
    token_id = next(i for i in range(len(tokenizer)) if i != tokenizer.pad_token_id)
    kernels = use_fast_kernels(network)
    try:
        structure = find_structure(network, token_id)
    except Exception as error:  # networks of another form fail in many ways; the reason is reported
        raise ModelError(
            f"{type(network).__name__} cannot read a short text ({first_line(error)}). Choose another model."
        ) from error
    return Model(network, tokenizer, class_names, settings, structure, kernels)


def load_settings(folder: Path) -> Any:
    """Load `config.json` of a folder that the guard has looked at.

    Raises:
        ModelError: Its values are not those of its architecture.
    """
    from transformers import AutoConfig

    try:
        with quiet():
            settings = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            settings.return_dict = True
            settings.output_attentions = settings.output_hidden_states = False
    except Exception as error:  # each architecture checks its values in its own way
        raise ModelError(
            f"{folder / 'config.json'}: its architecture rejects it ({first_line(error)})."
        ) from error
    vars(settings).pop("auto_map", None)  # see `check_config`: it may stand in a model of the catalogue
    return settings


def load_companions(folder: Path) -> tuple[Any, Any]:
    """Load the configuration and the tokenizer of a classifier, with a pad token in both."""
    settings, tokenizer = load_settings(folder), load_tokenizer(folder)
    choose_pad_token(tokenizer)
    for part in (settings, settings.get_text_config()):
        part.pad_token_id = tokenizer.pad_token_id
    if hasattr(settings, "use_cache"):
        settings.use_cache = False  # a classifier generates nothing
    return settings, tokenizer


def is_classifier(architectures: Sequence[Any] | None) -> bool:
    """Tell whether `architectures` of a configuration name a model with a classification head."""
    return any(str(name).endswith("ForSequenceClassification") for name in architectures or ())


def class_names_of(settings: Any) -> tuple[str, ...]:
    """Return the class names that a configuration holds, in the order of their ids."""
    return tuple(str(settings.id2label[index]) for index in sorted(settings.id2label))


def set_dropout(settings: Any, probability: float) -> None:
    """Set every dropout probability of a configuration; the families name them differently."""
    for part in {id(c): c for c in (settings, settings.get_text_config())}.values():
        for name, value in list(vars(part).items()):
            named = "dropout" in name or name.endswith("_pdrop") or name.endswith("_drop")
            if named and (value is None or isinstance(value, (int, float))) and not isinstance(value, bool):
                setattr(part, name, probability)


def read_weights(
    kind: Any, folder: Path, settings: Any, allow_pickle: bool, *, fresh_head: bool = False
) -> Any:
    """Load the weights of a folder in float32 into a model of a kind that transformers has.

    Args:
        kind: The class, such as `AutoModelForSequenceClassification`.
        folder: The folder.
        settings: Its configuration.
        allow_pickle: Accept weights other than safetensors.
        fresh_head: Whether the head, its pooler included, may be missing.

    Raises:
        ModelError: The weights cannot be loaded or do not fit the configuration.
    """
    try:
        with quiet():
            network, report = kind.from_pretrained(
                folder,
                config=settings,
                dtype=torch.float32,
                use_safetensors=None if allow_pickle else True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except Exception as error:  # readers of weights fail in many ways, all of them the folder's fault
        raise ModelError(f"{folder}: its weights cannot be loaded ({first_line(error)}).") from error
    prefix = f"{network.base_model_prefix}."
    for name, shape, expected in report["mismatched_keys"]:
        if name.startswith(prefix):
            raise ModelError(
                f"{folder}: the weights {name} have the shape {tuple(shape)} where config.json says "
                f"{tuple(expected)}. The files do not belong together."
            )
    lost = sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
    if fresh_head:
        lost = [name for name in lost if name.startswith(prefix) and ".pooler." not in f".{name}"]
    if lost:
        raise ModelError(
            f"{folder}: {len(lost)} weights are missing or of another shape ({lost[0]}, …). "
            "Copy or download the model again."
        )
    return network


def _renew_head(network: Any, settings: Any) -> None:
    # A head that was trained for other classes may have the right shape; its weights mean something else.
    spread = getattr(settings.get_text_config(), "initializer_range", 0.02)
    prefix = f"{network.base_model_prefix}."
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(prefix):
                continue
            if parameter.ndim >= 2:
                parameter.normal_(0.0, spread)
            elif name.endswith("bias"):
                parameter.zero_()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' load reports and progress bars off the terminal: what matters is checked here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
