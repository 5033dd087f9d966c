"""Predicting a file with a kill, a full disk or a closed pipe."""

import csv
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from finetext.errors import RunError
from finetext.inference import Prediction, predict_into_file, resumable_rows, row_batches

WORDS = "win a prize now text gold to claim your cash today".split()


def write_table(path, rows):
    choose = random.Random(rows)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "text"])
        for n in range(rows):
            text = " ".join(choose.choices(WORDS, k=choose.randint(0, 3)))
            out.writerow([f"{n:06}", f'{text}\n"{n}", é' if n % 97 == 0 else text])
    return path


def command(*arguments):
    return [sys.executable, "-m", "finetext", "predict", *map(str, arguments)]


def kill_after(rows, arguments, output):
    """Kill a prediction with SIGKILL once it has written enough rows, and return how many can be resumed."""
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE)
    try:
        while process.poll() is None and resumable_rows(output) < rows:
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()
    return resumable_rows(output)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_killed_prediction_resumes_without_losing_or_repeating_a_row(tmp_path, trained, name):
    table = write_table(tmp_path / "in.csv", 40_000)
    options = (trained("bert").folder.path, "--file", table, "--device", "cpu")
    whole, out = tmp_path / f"whole-{name}", tmp_path / name
    subprocess.run(command(*options, "--output", whole), check=True, capture_output=True)
    kept = 0
    for rows in (1, 20_000):
        before, kept = kept, kill_after(rows, (*options, "--output", out, "--resume"), out)
        assert before < kept < 40_000 and kept % row_batches.BATCH_ROWS == 0
        assert not out.exists()
    refused = subprocess.run(command(*options, "--output", out), capture_output=True, encoding="utf-8")
    assert refused.returncode == 2 and f"left {kept:,} rows" in refused.stderr
    ended = subprocess.run(
        command(*options, "--output", out, "--resume"), capture_output=True, encoding="utf-8"
    )
    assert ended.returncode == 0, ended.stderr
    assert "40,000 rows written" in ended.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.csv", name, f"whole-{name}"])


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={1 << 20}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip("may not mount a tmpfs here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_full_disk_loses_no_row_that_was_written(tmp_path, trained, small_disk, monkeypatch, name):
    monkeypatch.setattr(row_batches, "BATCH_ROWS", 100)
    table, out = write_table(tmp_path / "in.csv", 1_000), small_disk / name
    prediction = Prediction(trained("bert").folder.path, table)
    filler = small_disk / "filler"

    def fill_at(rows):
        def progress(done, total):
            if done > rows and not filler.exists():
                free = os.statvfs(small_disk)
                filler.write_bytes(b"\0" * ((free.f_bavail - 1) * free.f_frsize))

        return progress

    with pytest.raises(RunError, match="no space left") as caught:
        predict_into_file(prediction, out, progress=fill_at(450))
    assert len(str(caught.value).splitlines()) == 1
    kept = resumable_rows(out)
    assert 300 <= kept < 1_000 and not out.exists()
    filler.unlink()
    predict_into_file(prediction, out, resume=True)
    predict_into_file(prediction, tmp_path / name)
    assert out.read_bytes() == (tmp_path / name).read_bytes()
    assert [path.name for path in small_disk.iterdir()] == [name]


def test_a_closed_pipe_ends_the_prediction_quietly(tmp_path, trained):
    table = write_table(tmp_path / "in.csv", 20_000)
    options = (trained("bert").folder.path, "--file", table, "--format", "csv", "--device", "cpu")
    process = subprocess.Popen(command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"id,text,predicted,score\n"
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    assert error == b""


def test_a_stream_is_labelled_before_it_ends(tmp_path, trained):
    options = (trained("bert").folder.path, "--file", "-", "--format", "csv", "--device", "cpu")
    process = subprocess.Popen(
        command(*options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    row = b"tea at four" + b" " * 988 + b"\n"
    first_rows_seen = threading.Event()

    def write():
        process.stdin.write(b"text\n" + row * 14_000)  # more than a batch of rows and the sniffed head
        process.stdin.flush()
        first_rows_seen.wait(60)
        process.stdin.write(row)
        process.stdin.close()

    writer = threading.Thread(target=write)
    writer.start()
    lines = [process.stdout.readline()]
    first_rows_seen.set()
    lines += process.stdout.readlines()
    writer.join()
    error = process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == 0, error
    assert lines[0] == b"text,predicted,score\n" and len(lines) == 14_002
