"""A full disk ends the run with one line and leaves the last good checkpoint loadable."""

import os
import subprocess

import pytest

import finetext
from finetext.errors import RunError
from finetext.training.checkpoints import load_checkpoint

SIZE = 3 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("may not mount a tmpfs here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class FillsTheDisk:
    """Leaves next to no space once a checkpoint was written."""

    def __init__(self, folder):
        self.folder = folder

    def notice(self, text): ...
    def prepared(self, job, first_step, total_steps): ...
    def finishing(self, what): ...
    def evaluated(self, line): ...

    def step(self, step):
        if step.number != 6:
            return
        free = os.statvfs(self.folder)
        with (self.folder / "filler").open("wb") as file:
            file.write(b"\0" * max(0, free.f_bavail * free.f_frsize - 8192))


def test_a_full_disk_ends_with_one_line_and_keeps_the_last_good_checkpoint(small_disk, checkpoint, messages):
    run = small_disk / "run"
    options = {
        "model": str(checkpoint("bert")),
        "epochs": 6,
        "trainable": "all",
        "save_every": 4,
        "batch_size": 8,
    }
    with pytest.raises(RunError, match="no space left") as caught:
        finetext.train(messages, output=run, progress=FillsTheDisk(small_disk), **options)
    assert len(str(caught.value).splitlines()) == 1
    loaded, notices = load_checkpoint(run / "checkpoints")
    assert loaded.step == 4 and notices == []
    assert not list((run / "checkpoints").glob(".step-*"))
    (small_disk / "filler").unlink()
    assert finetext.resume(run).folder.finished


def test_a_disk_full_from_the_start_leaves_nothing(small_disk, checkpoint, messages):
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"\0" * (free.f_bavail * free.f_frsize))
    with pytest.raises(RunError, match="no space left"):
        finetext.train(messages, output=small_disk / "run", model=str(checkpoint("bert")), epochs=1)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
