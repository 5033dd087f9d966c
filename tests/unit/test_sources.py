"""Sources are resolved, or the error suggests what the user may have meant."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest

from finetext.data import DataConfig, read, split
from finetext.errors import DataError, DownloadError, FinetextError, UsageError

ROWS = [(f"text number {n}", "ab"[n % 2]) for n in range(40)]
SHARED = Path(__file__).parents[3] / "shared/data"
with_shared = pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write(path, rows=ROWS, **columns):
    pl.DataFrame(rows, schema=["text", "label"], orient="row").with_columns(**columns).write_csv(path)
    return path


def test_a_file_is_described(tmp_path):
    path = write(tmp_path / "data.csv")
    source = read(str(path), DataConfig()).source
    assert source.name == str(path)
    assert source.files == (path,)
    assert (source.format, source.text_column, source.label_column) == ("csv", "text", "label")
    assert source.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (source.synthetic, source.revision) == (False, None)


@pytest.mark.parametrize(
    "validation", ["validation.csv", "valid.csv", "val.csv", "Dev.csv", "development.csv"]
)
def test_a_folder_provides_its_splits(tmp_path, validation):
    write(tmp_path / "train.csv")
    write(tmp_path / validation, [("one more", "a"), ("and more", "b")])
    write(tmp_path / "test.csv.bak")
    (tmp_path / "README.md").write_text("about")
    dataset = read(tmp_path, DataConfig())
    assert dataset.given_splits == ["train"] * 40 + ["validation"] * 2
    assert dataset.rows[38:] == [40, 41, 2, 3]
    assert [path.name for path in dataset.source.files] == ["train.csv", validation]


def test_a_folder_with_only_a_train_file_provides_no_splits(tmp_path):
    write(tmp_path / "train.csv")
    assert read(tmp_path, DataConfig()).given_splits is None


def test_files_of_different_formats_make_one_folder(tmp_path):
    write(tmp_path / "train.csv")
    pl.DataFrame({"label": ["a", "b"], "text": ["x", "y"]}).write_parquet(tmp_path / "test.parquet")
    assert read(tmp_path, DataConfig()).texts[-2:] == ["x", "y"]


def test_two_files_for_one_split_are_refused(tmp_path):
    write(tmp_path / "train.csv")
    write(tmp_path / "training.csv")
    with pytest.raises(DataError, match=r"2 files could be the train split: train\.csv, training\.csv"):
        read(tmp_path, DataConfig())


def test_a_folder_without_train_file_is_refused(tmp_path):
    write(tmp_path / "test.csv")
    with pytest.raises(DataError, match=r"no train file.*test\.csv"):
        read(tmp_path, DataConfig())


def test_separate_files_are_the_other_splits(tmp_path):
    train = write(tmp_path / "all.csv")
    val, test = write(tmp_path / "v.csv", [("v", "a")]), write(tmp_path / "t.csv", [("t", "b")])
    config = DataConfig(validation_data=str(val), test_data=str(test))
    dataset = read(train, config)
    splits = split(dataset, config, 0)
    assert (len(splits.train), splits.validation.texts, splits.test.texts) == (40, ["v"], ["t"])
    assert dataset.source.files == (train, val, test)
    assert dataset.source.digest != read(train, DataConfig(test_data=str(test))).source.digest


def test_a_column_can_determine_the_split(tmp_path):
    part = pl.Series([["Train", "training", "TEST", "dev"][n // 10] for n in range(40)])
    path = write(tmp_path / "data.csv", part=part)
    config = DataConfig(split_column="part")
    splits = split(read(path, config), config, 0)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [20, 10, 10]
    with pytest.raises(UsageError, match="--split-column cannot be used with separate"):
        read(path, DataConfig(split_column="part", test_data=str(path)))


@pytest.mark.parametrize(
    ("value", "message"), [("oops", r":32: column 'part' holds 'oops'"), (None, "holds ''")]
)
def test_an_unknown_split_is_refused(tmp_path, value, message):
    part = pl.Series(["train"] * 30 + [value] * 10)
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "data.csv", part=part), DataConfig(split_column="part"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("smaple", "Did you mean 'sample'"),
        ("sms_spam", "Did you mean 'sms-spam'"),
        ("dta.csv", "Did you mean 'data.csv'"),
        ("someone/things", "write hf:someone/things"),
        ("nowhere/at/all.csv", "no such file"),
    ],
)
def test_an_unknown_source_is_refused_with_a_hint(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data.csv")
    with pytest.raises(DataError, match=message):
        read(source, DataConfig())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the user may read everything")
def test_an_unreadable_file_is_refused(tmp_path):
    path = write(tmp_path / "data.csv")
    path.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        read(path, DataConfig())


def test_the_sample_is_synthetic_and_says_so():
    dataset = read("sample", DataConfig())
    assert dataset.source.synthetic
    assert dataset.class_names == ("ham", "spam")
    assert len(dataset) >= 480
    assert 0.25 <= dataset.count_labels()["spam"] / len(dataset) <= 0.35
    assert not dataset.findings.warnings


@with_shared
@pytest.mark.parametrize(
    ("name", "examples", "classes", "task"),
    [
        ("trec6", 5952, 6, "multi-class"),
        ("goemotions", 54263, 28, "multi-label"),
        ("youtube_spam/all.csv", 1956, 2, "binary"),
        ("ag_news/test.csv", 7600, 4, "multi-class"),
        ("mbti_reddit/all.csv", 31942, 16, "multi-class"),
    ],
)
def test_published_data_sets_are_read(name, examples, classes, task):
    dataset = read(SHARED / name, DataConfig())
    assert (len(dataset), len(dataset.class_names), dataset.task) == (examples, classes, task)


# The Hub ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hf:", "hf:not an id", "hf:a/b/c", "hf:../x"])
def test_an_invalid_hub_id_is_refused(name):
    with pytest.raises(FinetextError, match="hf:"):
        read(name, DataConfig())


def hub_of(folder: Path) -> None:
    """Write a dataset repository with two splits, and numeric labels whose names are in the card."""
    folder.mkdir()
    for name, count in (("train", 40), ("test", 10)):
        texts = [f"{name} text {n}" for n in range(count)]
        frame = pl.DataFrame({"text": texts, "label": [n % 2 for n in range(count)]})
        frame.write_parquet(folder / f"{name}.parquet")
    (folder / "README.md").write_text(
        "---\n"
        "configs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: train.parquet\n  - split: test\n    path: test.parquet\n"
        "dataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: label\n    dtype:\n"
        "      class_label:\n        names:\n          '0': ham\n          '1': spam\n"
        "---\n"
    )


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers the Hub requests that `datasets` makes for one repository."""

    folder: Path

    def log_message(self, *arguments):
        pass

    def answer(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def entries(self):
        for path in self.folder.iterdir():
            yield {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        wanted = [entry for entry in self.entries() if entry["path"] in body]
        self.answer(200, json.dumps(wanted if "paths-info" in self.path else []).encode())

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        file = self.folder / path.rsplit("/", 1)[-1]
        if path.startswith("/api/datasets/own/messages/tree"):
            self.answer(200, json.dumps(list(self.entries())).encode())
        elif path.startswith("/api/datasets/own/messages"):
            siblings = [{"rfilename": entry["path"]} for entry in self.entries()]
            info = {"id": "own/messages", "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            self.answer(200, json.dumps(info).encode())
        elif path.startswith("/datasets/own/messages/resolve/") and file.is_file():
            body = file.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()}"'
            kind = "application/octet-stream"
            self.answer(200, body, kind, X_Repo_Commit=COMMIT, Accept_Ranges="bytes", ETag=tag)
        else:
            reason = "EntryNotFound" if "own/messages" in path else "RepoNotFound"
            self.answer(404, b'{"error": "not found"}', X_Error_Code=reason)


CLIENT = """
import sys
from finetext.data import DataConfig, read
from finetext.errors import FinetextError
try:
    dataset = read(sys.argv[1], DataConfig())
except FinetextError as error:
    print(type(error).__name__, error)
else:
    splits, revision = sorted(set(dataset.given_splits or [])), dataset.source.revision
    print(len(dataset), dataset.class_names, splits, revision, dataset.texts[0], dataset.labels[1])
"""


def ask(source: str, endpoint: str, home: Path) -> str:
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", CLIENT, source]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def hub(tmp_path):
    pytest.importorskip("datasets")
    hub_of(tmp_path / "repository")
    handler = type("OwnHub", (Hub,), {"folder": tmp_path / "repository"})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_hub_dataset_is_read_with_its_splits_and_class_names(tmp_path, hub):
    expected = f"50 ('ham', 'spam') ['test', 'train'] {COMMIT} train text 0 ('spam',)"
    assert ask("hf:own/messages", hub, tmp_path / "home") == expected
    expected = f"10 ('ham', 'spam') [] {COMMIT} test text 0 ('spam',)"
    assert ask("hf:own/messages:test", hub, tmp_path / "home") == expected
    missing = ask("hf:own/messages:tset", hub, tmp_path / "home")
    assert missing.startswith("DataError hf:own/messages:tset: no split 'tset'; it has train, test")
    nothing = ask("hf:own/nothing", hub, tmp_path / "home")
    assert nothing.startswith("DownloadError hf:own/nothing: ") and len(nothing.splitlines()) == 1


@pytest.mark.slow
def test_an_unreachable_hub_is_reported_in_one_line(tmp_path):
    pytest.importorskip("datasets")
    told = ask("hf:own/messages", "http://127.0.0.1:9", tmp_path / "home")
    assert told.startswith("DownloadError hf:own/messages: ") and len(told.splitlines()) == 1


def test_the_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r'pip install "finetext\[hub\]"'):
        read("hf:own/messages", DataConfig())


def test_data_errors_are_value_errors_and_download_errors_are_os_errors():
    assert issubclass(DataError, ValueError) and issubclass(DownloadError, OSError)
