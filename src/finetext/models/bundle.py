"""The bundle: a plain Hugging Face folder, and beside it what only finetext knows."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from finetext import files
from finetext.errors import ModelError
from finetext.models.encoding import choose_pad_token, forget_lengths, load_tokenizer, position_limit
from finetext.models.guard import check_folder
from finetext.models.loading import (
    assemble,
    class_names_of,
    is_classifier,
    load_settings,
    quiet,
    read_weights,
    set_pad_token,
    settings_from,
)
from finetext.models.model import BundleSettings, Model
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
        UsageError: The folder is there already or cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with quiet():
            model.network.config._name_or_path = ""
            model.network.save_pretrained(temporary)
            forget_lengths(model.tokenizer)
            model.tokenizer.init_kwargs["model_max_length"] = model.settings.max_length
            model.tokenizer.model_max_length = model.settings.max_length
            model.tokenizer.init_kwargs.pop("name_or_path", None)
            model.tokenizer.save_pretrained(temporary)
        files.write_json(
            temporary / FINETEXT,
            {
                "schema_version": SCHEMA_VERSION,
                **dataclasses.asdict(model.settings),
                "provenance": provenance,
            },
        )
        for path in temporary.iterdir():
            path.chmod(0o666 & ~files.umask())  # safetensors writes for the owner alone
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.rename(folder)
        files.sync_folder(folder.parent)
    except Exception as error:
        raise files.explain_write_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_bundle(path: Path, *, allow_pickle: bool = False) -> Model:
    """Load a saved classifier on the CPU in float32.

    Args:
        path: A bundle, the run folder that holds one, or any Hugging Face folder with a sequence classifier.
        allow_pickle: Accept a folder without safetensors.

    Raises:
        ModelError: There is no classifier, or it is damaged or not safe to load.
    """
    folder = model_folder(path)
    raw = check_folder(folder, allow_pickle=allow_pickle)
    if not is_classifier(raw.get("architectures")):
        raise ModelError(
            f"{folder}: is a backbone without a classification head. "
            f"Train it first: finetext train DATA --model {folder}"
        )
    _check_labels(raw, folder)
    settings = load_settings(folder)
    tokenizer = load_tokenizer(folder)
    choose_pad_token(tokenizer)
    set_pad_token(settings, tokenizer.pad_token_id)
    with quiet():
        network, report = read_weights(folder, settings, allow_pickle)
    wrong = sorted(report["missing_keys"]) + sorted(name for name, *_ in report["mismatched_keys"])
    if wrong:
        raise ModelError(
            f"{folder}: {len(wrong)} weights are missing or of another shape ({wrong[0]}). Copy the folder again."
        )
    names = class_names_of(settings)
    if len(names) < 2:
        raise ModelError(f"{folder}: has one output, so it is no classifier of two or more classes.")
    return assemble(network, tokenizer, names, _bundle_settings(folder, settings, names, network))


def _check_thresholds(settings: BundleSettings, names: tuple[str, ...]) -> None:
    wanted = {"binary": 1, "multi-label": len(names)}.get(settings.task, 0)
    if settings.decision.thresholds is not None and len(settings.decision.thresholds) != wanted:
        raise ValueError("thresholds")


def _check_labels(raw: dict[str, Any], folder: Path) -> None:
    id2label = raw.get("id2label")
    if id2label is None:
        return
    ids = sorted(int(key) for key in id2label) if _all_numbers(id2label) else None
    if ids != list(range(len(id2label))) or len(set(id2label.values())) != len(id2label):
        raise ModelError(
            f"{folder / 'config.json'}: its label ids must count 0, 1, 2, … with a name of its own each (id2label)."
        )


def _all_numbers(id2label: Any) -> bool:
    return isinstance(id2label, dict) and all(str(key).isdigit() for key in id2label)


def _bundle_settings(folder: Path, settings: Any, names: tuple[str, ...], network: Any) -> BundleSettings:
    path = folder / FINETEXT
    if not path.is_file():
        multi = getattr(settings, "problem_type", None) == "multi_label_classification"
        task = "multi-label" if multi else "binary" if len(names) == 2 else "multi-class"
        return BundleSettings(task, "native", position_limit(settings, network), "truncate", "mean")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema_version"] not in _READABLE:
            raise ModelError(
                f"{path}: was written by another version of finetext. Load it with that version."
            )
        found = settings_from(values, position_limit(settings, network))
        _check_thresholds(found, names)
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is damaged. Copy the folder again.") from error
