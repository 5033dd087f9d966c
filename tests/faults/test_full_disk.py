"""A full disk ends the run with one line and leaves the last good checkpoint loadable."""

import os
import shutil
import subprocess

import pytest

import finetext
from finetext.errors import RunError
from finetext.training import Progress
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


class FillsTheDisk(Progress):
    """Fills the disk almost completely after the first checkpoint."""

    def __init__(self, folder):
        self.folder = folder

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


def test_a_disk_that_is_full_from_the_start_leaves_no_files(small_disk, checkpoint, messages):
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"\0" * (free.f_bavail * free.f_frsize))
    with pytest.raises(RunError, match="no space left"):
        finetext.train(messages, output=small_disk / "run", model=str(checkpoint("bert")), epochs=1)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_full_disk_under_the_feature_cache_means_training_without_it(
    tmp_path, monkeypatch, small_disk, checkpoint, messages
):
    listener = Told()
    monkeypatch.setenv("FINETEXT_HOME", str(small_disk / "home"))
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"\0" * (free - 3 * 4096))
    run = finetext.train(
        messages,
        output=tmp_path / "run",
        model=str(checkpoint("gpt2")),
        trainable="last-block",
        epochs=1,
        cache_limit="1GB",
        progress=listener,
    )
    assert run.folder.finished
    assert any("training without cached activations" in text for text in listener.notices)
    assert not list((small_disk / "home").glob("features/*/*.bin"))


class Told(Progress):
    """Records the notices of a run."""

    def __init__(self):
        self.notices = []

    def notice(self, text):
        self.notices.append(text)
