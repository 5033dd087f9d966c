"""The bundle: a plain Hugging Face folder, and what only finetext knows in a file beside the weights."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from finetext import files
from finetext.decision import Decision
from finetext.errors import ModelError
from finetext.models.loading import (
    assemble,
    class_names_of,
    is_classifier,
    load_companions,
    quiet,
    read_weights,
)
from finetext.models.model import BundleSettings, Model
from finetext.models.onnx_network import NO_STRUCTURE, ONNX, OnnxNetwork
from finetext.models.safety import check_folder
from finetext.models.tokenization import forget_lengths, position_limit
from finetext.options import conform
from finetext.runs import model_folder

FINETEXT = "finetext.json"
SCHEMA_VERSION = 2
_READABLE = (1, 2)


def save_bundle(model: Model, folder: Path, provenance: dict[str, Any]) -> None:
    """Write a model as a folder that plain transformers loads.

    The same model gives the same bytes: nothing in it tells the time or where it was made. Everything is
    written into a temporary folder beside, synced, and renamed.

    Raises:
        RunError: The disk is full.
        UsageError: The folder already exists or cannot be written.
    """
    with files.making_folder(folder) as temporary:
        with quiet():
            model.network.save_pretrained(temporary)
        save_companions(model.network.config, model.tokenizer, model.settings, provenance, temporary)


def save_companions(
    config: Any, tokenizer: Any, settings: BundleSettings, provenance: dict[str, Any], folder: Path
) -> None:
    """Write what stands beside the weights: `config.json`, the tokenizer and `finetext.json`."""
    with quiet():
        config._name_or_path = ""
        config.save_pretrained(folder)
        forget_lengths(tokenizer)
        tokenizer.init_kwargs["model_max_length"] = settings.max_length
        tokenizer.model_max_length = settings.max_length
        tokenizer.init_kwargs.pop("name_or_path", None)
        tokenizer.save_pretrained(folder)
    content = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(settings), "provenance": provenance}
    files.write_json(folder / FINETEXT, content)


@dataclass(frozen=True)
class Parts:
    """What a bundle is made of, as it is read and before anything is put together.

    Attributes:
        network: The Hugging Face model, as transformers builds it.
        tokenizer: Its tokenizer, with a pad token.
        class_names: The classes in the order of their ids.
        settings: What finetext knows of it.
        provenance: Where it came from, as saved; empty if it says nothing.
    """

    network: Any
    tokenizer: Any
    class_names: tuple[str, ...]
    settings: BundleSettings
    provenance: dict[str, Any]


def load_bundle(path: Path, *, allow_pickle: bool = False) -> Model:
    """Load a saved classifier on the CPU in float32; ONNX Runtime runs an export.

    Args:
        path: A bundle or export, the run folder that holds one, or any Hugging Face folder with a sequence classifier.
        allow_pickle: Accept a folder without safetensors.

    Raises:
        ModelError: There is no classifier, or it is damaged or not safe to load.
        UsageError: ONNX Runtime is needed and not installed.
    """
    folder = model_folder(path)
    if not is_exported(folder):
        parts = read_bundle(folder, allow_pickle=allow_pickle)
        return assemble(parts.network, parts.tokenizer, parts.class_names, parts.settings)
    settings, tokenizer, names = _read_companions(folder, check_folder(folder, exported=True))
    network = OnnxNetwork(folder / ONNX, settings, len(names))
    bundle, _ = _bundle_settings(folder, settings, names, network)
    return Model(network, tokenizer, names, bundle, NO_STRUCTURE)


def read_bundle(path: Path, *, allow_pickle: bool = False) -> Parts:
    """Read a saved classifier as `load_bundle` does, and leave its network as transformers builds it."""
    from transformers import AutoModelForSequenceClassification

    folder = model_folder(path)
    raw = check_folder(folder, allow_pickle=allow_pickle)
    if not is_classifier(raw.get("architectures")):
        raise ModelError(
            f"{folder}: is a backbone without a classification head. "
            f"Train it first: finetext train DATA --model {folder}"
        )
    settings, tokenizer, names = _read_companions(folder, raw)
    network = read_weights(AutoModelForSequenceClassification, folder, settings, allow_pickle)
    bundle, provenance = _bundle_settings(folder, settings, names, network)
    return Parts(network, tokenizer, names, bundle, provenance)


def is_exported(folder: Path) -> bool:
    """Tell whether a folder holds an ONNX export and no weights of its own."""
    weights = ("model.safetensors", "model.safetensors.index.json")
    return (folder / ONNX).is_file() and not any((folder / name).is_file() for name in weights)


def _read_companions(folder: Path, raw: dict[str, Any]) -> tuple[Any, Any, tuple[str, ...]]:
    """Return the configuration, the tokenizer and the class names of a classifier."""
    id2label = raw.get("id2label")
    if id2label is not None and not _is_numbered(id2label):
        raise ModelError(
            f"{folder / 'config.json'}: label ids must be 0, 1, 2, …, each with a different name (id2label)."
        )
    settings, tokenizer = load_companions(folder)
    names = class_names_of(settings)
    if len(names) < 2:
        raise ModelError(f"{folder}: has one output, so it is not a classifier with two or more classes.")
    return settings, tokenizer, names


def _is_numbered(id2label: Any) -> bool:
    if not isinstance(id2label, dict) or len(set(id2label.values())) < len(id2label):
        return False
    return {str(key) for key in id2label} == {str(index) for index in range(len(id2label))}


def _bundle_settings(
    folder: Path, settings: Any, names: tuple[str, ...], network: Any
) -> tuple[BundleSettings, dict[str, Any]]:
    path = folder / FINETEXT
    if not path.is_file():
        multi = getattr(settings, "problem_type", None) == "multi_label_classification"
        task = "multi-label" if multi else "binary" if len(names) == 2 else "multi-class"
        return BundleSettings(task, "native", position_limit(settings, network), "truncate", "mean"), {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema_version"] not in _READABLE:
            raise ModelError(
                f"{path}: was written by another version of finetext. Load it with that version."
            )
        bundle = _settings_from(values, position_limit(settings, network), len(names))
        return bundle, dict(values.get("provenance") or {})
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is damaged. Copy the folder again.") from error


def _settings_from(values: dict[str, Any], limit: int, classes: int) -> BundleSettings:
    """Return the settings that a bundle's `finetext.json` holds; raise KeyError or ValueError if it is damaged."""
    kinds = get_type_hints(BundleSettings)
    del kinds["decision"]
    options = {name: conform(values[name], kind) for name, kind in kinds.items()}
    thresholds_of = {"binary": 1, "multi-class": 0, "multi-label": classes}
    if options["task"] not in thresholds_of or not 1 <= options["max_length"] <= limit:
        raise ValueError("task or max_length")
    rule = values.get("decision") or {}  # there since schema version 2
    thresholds = rule.get("thresholds")
    if thresholds is not None and len(thresholds) != thresholds_of[options["task"]]:
        raise ValueError("thresholds")
    decision = Decision(None if thresholds is None else tuple(thresholds), rule.get("abstain_below"))
    return BundleSettings(**options, decision=decision)
