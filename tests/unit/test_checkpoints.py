import json
import shutil

import pytest
import torch

from finetext.errors import RunError
from finetext.runs import RunFolder
from finetext.training.api import refuse_other_identity
from finetext.training.checkpoints import (
    MANIFEST,
    SCHEMA_VERSION,
    Checkpoint,
    checkpoint_folders,
    find_damage,
    load_checkpoint,
    save_checkpoint,
)


def checkpoint(step):
    weights = {"head.weight": torch.full((2, 3), float(step))}
    return Checkpoint(
        step=step,
        weights=weights,
        best={"head.weight": torch.zeros(2, 3)},
        average={"head.weight": torch.ones(2, 3)},
        state={"step": step, "random": {"cpu": torch.get_rng_state(), "cuda": []}},
        progress={"value": 0.5},
        identity={"data": "d", "seed": "s"},
    )


def test_a_saved_checkpoint_is_loaded_back(tmp_path):
    save_checkpoint(tmp_path, checkpoint(7))
    loaded, notices = load_checkpoint(tmp_path)
    assert notices == []
    assert loaded.step == 7
    assert torch.equal(loaded.weights["head.weight"], torch.full((2, 3), 7.0))
    assert torch.equal(loaded.best["head.weight"], torch.zeros(2, 3))
    assert torch.equal(loaded.average["head.weight"], torch.ones(2, 3))
    assert loaded.progress == {"value": 0.5}
    assert loaded.identity == {"data": "d", "seed": "s"}


def test_at_most_two_checkpoints_are_kept(tmp_path):
    for step in range(1, 6):
        save_checkpoint(tmp_path, checkpoint(step))
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step-00000005", "step-00000004"]


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "best.safetensors", "average.safetensors", "state.pt", MANIFEST]
)
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_checkpoint_falls_back_to_the_previous_one(tmp_path, name, damage):
    save_checkpoint(tmp_path, checkpoint(1))
    path = save_checkpoint(tmp_path, checkpoint(2)) / name
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    else:
        path.unlink()
    loaded, notices = load_checkpoint(tmp_path)
    assert loaded.step == 1
    assert len(notices) == 1 and "step-00000002" in notices[0]
    assert save_checkpoint(tmp_path, checkpoint(2)).is_dir()


def test_without_a_valid_checkpoint_none_is_loaded(tmp_path):
    assert load_checkpoint(tmp_path / "nowhere") == (None, [])
    (save_checkpoint(tmp_path, checkpoint(1)) / MANIFEST).unlink()
    loaded, notices = load_checkpoint(tmp_path)
    assert loaded is None and len(notices) == 1


def test_leftovers_of_a_killed_save_are_ignored_and_removed(tmp_path):
    whole = save_checkpoint(tmp_path, checkpoint(1))
    shutil.copytree(whole, tmp_path / ".step-00000002.tmp")
    assert load_checkpoint(tmp_path)[0].step == 1
    save_checkpoint(tmp_path, checkpoint(3))
    assert not list(tmp_path.glob(".step-*"))


def test_a_checkpoint_of_another_schema_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, checkpoint(1)) / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["schema_version"] = SCHEMA_VERSION + 1
    path.write_text(json.dumps(manifest))
    assert find_damage(path.parent) is None
    with pytest.raises(RunError, match="another version"):
        load_checkpoint(tmp_path)


def test_loading_the_state_runs_no_code(tmp_path):
    class Canary:
        def __reduce__(self):
            return (print, ("ran",))

    hostile = checkpoint(1)
    hostile.state["canary"] = Canary()
    save_checkpoint(tmp_path, hostile)
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        load_checkpoint(tmp_path)


def test_a_changed_identity_is_refused_by_name(tmp_path):
    before, now = {"data": "a", "seed": "1"}, {"data": "b", "seed": "1", "labels": "x"}
    with pytest.raises(RunError, match="changed since the run was started: data, labels"):
        refuse_other_identity(RunFolder(tmp_path), before, now)
