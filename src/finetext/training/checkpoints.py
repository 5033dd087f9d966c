"""Checkpoints: what an interrupted run needs to resume, written so that a kill at any moment leaves a valid one.

A checkpoint is a folder `step-00000123`. Its files are written to a temporary folder and synced, then a manifest
with the digest of each; then the folder is renamed. Only a folder with a manifest whose digests match counts.
At most two are kept, so that a damaged one leaves the one before it.
"""

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from finetext import files
from finetext.errors import RunError

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
AVERAGE = "average.safetensors"
STATE = "state.pt"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Checkpoint:
    """A run at one step.

    Attributes:
        step: Optimizer steps taken.
        weights: The trained parameters.
        best: Those of the best evaluation so far, empty before the first.
        average: The mean of those after each epoch, empty before the end of the first.
        state: The optimizer, the schedule and the random generators, by name. Tensors,
            numbers, lists and dictionaries only.
        progress: The rest of the run's memory: evaluations, the best one, patience. JSON values.
        identity: What a resumed run must share with the one that wrote it: digests by name.
    """

    step: int
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    average: dict[str, Tensor]
    state: dict[str, Any]
    progress: dict[str, Any]
    identity: dict[str, str]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into `folder` and remove all but the one before it.

    Raises:
        RunError: The disk is full; earlier checkpoints can still be loaded.
        UsageError: The folder cannot be written to.
    """
    target = folder / f"step-{checkpoint.step:08d}"
    if target.exists():  # the run was resumed here, or this step has just been saved
        return target
    with files.making_folder(target) as temporary:
        for old in (*folder.glob(".step-*.tmp"), *checkpoint_folders(folder)[1:]):
            shutil.rmtree(old)
        temporary.mkdir(parents=True)
        _write_parts(temporary, checkpoint)
    return target


def _write_parts(folder: Path, checkpoint: Checkpoint) -> None:
    save_weights(checkpoint.weights, folder / WEIGHTS)
    if checkpoint.best:
        _write_best(folder, checkpoint)
    if checkpoint.average:
        save_weights(checkpoint.average, folder / AVERAGE)
    torch.save(checkpoint.state, folder / STATE)
    digests = {path.name: files.digest_file(path) for path in sorted(folder.iterdir())}
    files.write_json(
        folder / MANIFEST,
        {
            "schema_version": SCHEMA_VERSION,
            "step": checkpoint.step,
            "files": digests,
            "progress": checkpoint.progress,
            "identity": checkpoint.identity,
        },
    )


def _write_best(folder: Path, checkpoint: Checkpoint) -> None:
    if checkpoint.best is checkpoint.weights:
        with contextlib.suppress(OSError):  # some file systems have no links
            (folder / BEST).hardlink_to(folder / WEIGHTS)
            return
    save_weights(checkpoint.best, folder / BEST)


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)


def checkpoint_folders(folder: Path) -> list[Path]:
    """Return the folders of all checkpoints, valid or not, newest first."""
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []


def load_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Load the newest valid checkpoint.

    Damaged ones are removed, so that the steps after the valid one can be saved again.

    Returns:
        The checkpoint, None if there is none, and a notice for each damaged one that was skipped.
    """
    notices: list[str] = []
    for path in checkpoint_folders(folder):
        damage = find_damage(path)
        if damage is None:
            return _read(path), notices
        notices.append(f"{path.name}: {damage}; falling back to the checkpoint before it.")
        shutil.rmtree(path)
    return None, notices


def find_damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, None if it is valid."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, digest in manifest["files"].items():
            if files.digest_file(path / name) != digest:
                return f"{name} is damaged"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    return None if {WEIGHTS, STATE} <= manifest["files"].keys() else "files are missing"


def _read(path: Path) -> Checkpoint:
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise RunError(
            f"{path}: was written by another version of finetext. Finish the run with that version."
        )
    return Checkpoint(
        step=manifest["step"],
        weights=load_file(path / WEIGHTS),
        best=load_file(path / BEST) if BEST in manifest["files"] else {},
        average=load_file(path / AVERAGE) if AVERAGE in manifest["files"] else {},
        # Tensors and plain values only: loading runs no code from the file.
        state=torch.load(path / STATE, weights_only=True, map_location="cpu"),
        progress=manifest["progress"],
        identity=manifest["identity"],
    )


def random_state() -> dict[str, Any]:
    """Return the state of the random generators that dropout draws from."""
    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if initialized else []}


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
