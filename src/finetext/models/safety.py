"""Looks at a model folder before anything in it is loaded, and refuses what could run code or escape.

Only JSON and the headers of safetensors files are read here. Nothing in a folder is imported or unpickled.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetext.errors import ModelError, first_line

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
TOKENIZER_FILES = (
    "tokenizer.json vocab.txt vocab.json tokenizer.model spiece.model sentencepiece.bpe.model".split()
)


def check_folder(
    folder: Path, *, allow_pickle: bool = False, shipped: str | None = None, exported: bool = False
) -> dict[str, Any]:
    """Refuse a folder that is damaged or not safe to load, and return its `config.json`.

    Args:
        folder: The model folder.
        allow_pickle: Accept weights that are only there as pickles.
        shipped: As for `check_config`.
        exported: Whether the weights stand in an ONNX file, which is looked at when it is opened.

    Raises:
        ModelError: With the file at fault and what to do.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder.")
    _refuse_links_out(folder)
    config = check_config(folder, shipped)
    for path in sorted(folder.glob("*.json")):
        if path.name != "config.json":
            _refuse_foreign_code(_read_json(path), path)
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder}: holds a LoRA adapter, not a whole model. Merge it into its base model first "
            "(PEFT's merge_and_unload), then name that folder."
        )
    if not exported:
        _check_weights(folder, allow_pickle)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{folder}: has no tokenizer (tokenizer.json). Save the model's tokenizer there too."
        )
    return config


def check_config(folder: Path, shipped: str | None = None) -> dict[str, Any]:
    """Read `config.json` and refuse foreign code and an architecture that transformers does not ship.

    Args:
        folder: The model folder.
        shipped: The `model_type` of a model of the catalogue. Some of those (Phi-3) were published before
            transformers shipped their architecture, and still name code for older versions (`auto_map`).
            Under that `model_type` the line is tolerated; the code is neither fetched nor run.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{folder}: is not a model folder: it has no config.json. Name a folder that save_pretrained wrote."
        )
    config = _read_json(path)
    if not isinstance(config, dict):
        raise ModelError(f"{path}: is damaged: it must hold a JSON object. Copy or download the model again.")
    known = shipped is not None and config.get("model_type") == shipped
    _refuse_foreign_code({k: v for k, v in config.items() if not (known and k == "auto_map")}, path)
    if "transformers_weights" in config:
        raise ModelError(
            f"{path}: names the weights to load (`transformers_weights`), past the checks of this folder. "
            "Remove that line and name the file model.safetensors."
        )
    _refuse_unknown_architecture(config, path)
    return config


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: is damaged: it is not valid JSON. Copy or download the model again."
        ) from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}).") from error


def _refuse_foreign_code(value: Any, path: Path) -> None:
    for key, item in _items(value):
        if key == "auto_map" or (key == "trust_remote_code" and item):
            raise ModelError(
                f"{path}: asks to run code that comes with the model (`{key}`), which finetext never does. "
                "If transformers ships the architecture itself, remove that line; else choose another model."
            )
        if key.strip("_").startswith("attn_implementation") and isinstance(item, str) and "/" in item:
            raise ModelError(
                f"{path}: names attention code to be downloaded (`{key}: {item}`), which finetext never runs. "
                "Remove that line."
            )


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from item.items()
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _refuse_unknown_architecture(config: dict[str, Any], path: Path) -> None:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    kind, names = config.get("model_type"), config.get("architectures") or ()
    foreign = [name for name in names if not isinstance(name, str) or not hasattr(transformers, name)]
    problem = None
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING_NAMES:
        problem = f"transformers {transformers.__version__} has no architecture {kind!r}"
    elif kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        problem = f"transformers has no text-classification head for {kind!r}"
    elif config.get("is_encoder_decoder"):
        problem = f"{kind!r} is an encoder-decoder model, which finetext does not train"
    elif foreign:
        problem = f"transformers does not ship the architecture {foreign[0]!r}"
    if problem:
        raise ModelError(f"{path}: {problem}. Choose another model.")


def _refuse_links_out(folder: Path) -> None:
    # A snapshot in the Hub's cache is made of links into the `blobs` folder beside `snapshots`.
    inside = [folder.resolve()]
    if folder.parent.name == "snapshots":
        inside.append((folder.parent.parent / "blobs").resolve())
    for path in folder.rglob("*"):
        if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in inside):
            raise ModelError(
                f"{path}: is a link that leads out of the model folder. Put the file itself there."
            )
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ModelError(f"{path}: is not a regular file (a pipe or a device). Remove it.")


def _check_weights(folder: Path, allow_pickle: bool) -> None:
    for name in ["model.safetensors"] + ["pytorch_model.bin"] * allow_pickle:
        index = folder / f"{name}.index.json"
        shards = _shards(index, Path(name).suffix) if index.is_file() else []
        if (folder / name).is_file():  # transformers prefers it to the index
            shards.append(name)
        for shard in shards:
            _check_shard(folder / shard)
        if shards:
            return
    if (folder / "model.onnx").is_file():
        raise ModelError(
            f"{folder}: is an ONNX export, which labels texts and cannot be trained. Name the model it was made of."
        )
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise ModelError(
            f"{folder}: holds only pickled weights ({pickles[0]}), which can run code when loaded. "
            "Convert them to safetensors, or pass --allow-pickle if you trust their source."
        )
    raise ModelError(f"{folder}: has no weights (model.safetensors). Copy or download the model again.")


def _shards(index: Path, kind: str) -> list[str]:
    content = _read_json(index)
    mapping = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(mapping, dict) or not mapping:
        raise ModelError(f"{index}: is damaged: it names no weight files. Copy or download the model again.")
    names = sorted({str(name) for name in mapping.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(kind):
            raise ModelError(
                f"{index}: names a weight file outside the folder or of another kind ({name}). Do not use this model."
            )
    return names


def _check_shard(path: Path) -> None:
    """Refuse a file of weights that is missing, or a safetensors file whose header does not fit its content."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"{path}: is missing. Copy or download the model again.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy"):  # reads the header alone
                pass
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: is not a complete safetensors file ({first_line(error)}). Copy or download the model again."
        ) from error
