"""Downloads from a real server are verified, atomic and confined to the cache, and fail with a clear error."""

import contextlib
import hashlib
import http.server
import io
import os
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from finetext.data.builtin import (
    SMS_SPAM,
    SMS_SPAM_MEMBER,
    Archive,
    downloads_folder,
    fetch,
    load_sms_spam,
    read_member,
)
from finetext.errors import DownloadError, FinetextError

PUBLISHED = Path(__file__).parents[3] / "shared/data/sms_spam/smsspamcollection.zip"


def zip_of(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


MESSAGES = "".join(f"{'spam' if n % 3 else 'ham'}\tmessage number {n}\n" for n in range(300)).encode()
ZIP = zip_of(readme=b"about", **{SMS_SPAM_MEMBER: MESSAGES})
FILE = "messages.zip"


class Server(http.server.ThreadingHTTPServer):
    """Serves the archive, or misbehaves, and counts the requests."""

    behaviour = "good"
    requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.requests += 1
        content = ZIP
        match self.server.behaviour:
            case "missing":
                self.send_error(404)
                return
            case "broken":
                self.send_error(503)
                return
            case "other":
                content = b"<html>Please log in to this network</html>"
            case "silent":
                threading.Event().wait(3)
                return
        self.send_response(200)
        if self.server.behaviour != "no length":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = self.server.behaviour == "cut"
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content[: len(content) // 2] if half else content)


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETEXT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def archive_at(server: Server) -> Archive:
    return Archive(f"http://127.0.0.1:{server.server_port}/sms.zip", hashlib.sha256(ZIP).hexdigest(), FILE)


def left_behind() -> list[str]:
    return sorted(path.name for path in downloads_folder().iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize("behaviour", ["good", "no length"])
def test_the_archive_is_downloaded_once_and_read(server, capsys, behaviour):
    server.behaviour = behaviour
    loaded = load_sms_spam(archive_at(server))
    assert loaded.tables[0].frame.height == 300
    assert loaded.source.digest == hashlib.sha256(MESSAGES).hexdigest()
    assert left_behind() == [FILE]
    assert loaded.source.files == (downloads_folder() / FILE,)
    load_sms_spam(archive_at(server))
    assert server.requests == 1
    assert capsys.readouterr() == ("", "")  # no progress bar without a terminal


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("cut", "the connection was cut off"),
        ("other", "the content is not the expected one"),
        ("missing", "the server answers 404 Not Found"),
        ("broken", "the server answers 503"),
        ("silent", "the server does not answer"),
    ],
)
def test_a_failed_download_says_why_and_where_to_put_the_file(server, behaviour, message):
    server.behaviour = behaviour
    archive = archive_at(server)
    with pytest.raises(DownloadError, match=message) as error:
        fetch(archive, timeout_seconds=0.5 if behaviour == "silent" else 10)
    told = str(error.value)
    assert archive.url in told and str(downloads_folder() / archive.file) in told
    assert len(told.splitlines()) == 1
    assert left_behind() == []
    server.behaviour = "good"
    assert fetch(archive).read_bytes() == ZIP


def test_a_missing_network_is_reported_in_one_line():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/sms.zip"
    for address in (url, "http://no-such-host.invalid/sms.zip", "nonsense"):
        with pytest.raises(DownloadError) as error:
            fetch(Archive(address, "0" * 64, FILE), timeout_seconds=10)
        assert address in str(error.value) and "put it at" in str(error.value)
        assert len(str(error.value).splitlines()) == 1


def test_a_manually_placed_file_is_used(server):
    downloads_folder().mkdir(parents=True)
    (downloads_folder() / FILE).write_bytes(ZIP)
    assert load_sms_spam(archive_at(server)).tables[0].frame.height == 300
    assert server.requests == 0


@pytest.mark.parametrize("behaviour", ["good", "missing"])
def test_a_damaged_file_in_the_cache_is_downloaded_again(server, behaviour):
    server.behaviour = behaviour
    downloads_folder().mkdir(parents=True)
    path = downloads_folder() / FILE
    damaged = bytearray(ZIP)
    damaged[1000] ^= 1
    path.write_bytes(damaged)
    if behaviour == "good":
        assert fetch(archive_at(server)).read_bytes() == ZIP
    else:
        with pytest.raises(DownloadError, match="the file there now is not the published one"):
            fetch(archive_at(server))
        assert path.read_bytes() == damaged


def test_concurrent_downloads_of_the_same_file_do_not_conflict(server):
    code = "import sys; from finetext.data.builtin import *; print(fetch(Archive(*sys.argv[1:])))"
    archive = archive_at(server)
    command = [sys.executable, "-c", code, archive.url, archive.digest, archive.file]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {process.communicate(timeout=60)[0].strip() for process in running}
    assert paths == {str(downloads_folder() / archive.file)}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert server.requests == 1


def test_hostile_member_names_write_nothing(tmp_path):
    hostile = {
        "../../evil": b"x",
        "/tmp/evil-finetext": b"x",
        "a/../../evil": b"x",
        SMS_SPAM_MEMBER: b"ham\thi\n",
    }
    path = tmp_path / "deep.zip"
    path.write_bytes(zip_of(**hostile))
    before = sorted(tmp_path.parent.rglob("*"))
    assert read_member(path, SMS_SPAM_MEMBER) == b"ham\thi\n"
    assert sorted(tmp_path.parent.rglob("*")) == before
    assert not Path("/tmp/evil-finetext").exists()


def test_an_archive_that_is_damaged_or_lacks_the_member_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of(**{"x/SMSSpamCollection": b""}))
    with pytest.raises(DownloadError, match="has no file 'SMSSpamCollection'"):
        read_member(path, SMS_SPAM_MEMBER)
    (tmp_path / "b.zip").write_bytes(b"not a zip")
    with pytest.raises(DownloadError, match="not a readable zip file"):
        read_member(tmp_path / "b.zip", SMS_SPAM_MEMBER)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the user may write everywhere")
def test_a_cache_without_permission_is_reported(server, home):
    home.mkdir()
    home.chmod(0o500)
    with pytest.raises(FinetextError, match="FINETEXT_HOME"):
        fetch(archive_at(server))


def test_a_file_in_place_of_the_cache_is_reported(server, home):
    home.write_text("a file")
    with pytest.raises(DownloadError, match="FINETEXT_HOME"):
        fetch(archive_at(server))


@pytest.mark.skipif(not PUBLISHED.exists(), reason="../shared/data/sms_spam is not here")
def test_the_published_archive_is_the_one_expected(home):
    assert hashlib.sha256(PUBLISHED.read_bytes()).hexdigest() == SMS_SPAM.digest
    assert SMS_SPAM.url == "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
    downloads_folder().mkdir(parents=True)
    (downloads_folder() / SMS_SPAM.file).write_bytes(PUBLISHED.read_bytes())
    assert load_sms_spam().tables[0].frame.height == 5574
