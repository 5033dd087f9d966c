"""Models from the Hub are pinned to a commit, checked before their weights are downloaded, and bring no code.

A small local server stands in for the Hub. The client reads its address at import, so each case runs in a subprocess.
"""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
pytestmark = pytest.mark.slow


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves the files of one model as `acme/tiny`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        folder: Path = self.server.folder
        self.server.requested.append(path)
        names = sorted(file.name for file in folder.iterdir())
        info = {"id": "acme/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
        if path in (
            "/api/models/acme/tiny",
            *(f"/api/models/acme/tiny/revision/{r}" for r in ("main", COMMIT)),
        ):
            self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
        elif path.startswith(f"/api/models/acme/tiny/tree/{COMMIT}"):
            tree = [{"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": n} for n in names]
            self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
        elif (
            path.startswith((f"/acme/tiny/resolve/{COMMIT}/", "/acme/tiny/resolve/main/"))
            and Path(path).name in names
        ):
            body = (folder / Path(path).name).read_bytes()
            tag = f'"{hashlib.sha1(body).hexdigest()}"'
            self.answer(200, body, ETag=tag, X_Repo_Commit=COMMIT, Content_Type="application/octet-stream")
        elif path.startswith(("/api/models/acme/tiny/revision/", "/acme/tiny/resolve/v9/")):
            self.answer(404, b'{"error": "Invalid rev id"}', X_Error_Code="RevisionNotFound")
        else:
            self.answer(404, b'{"error": "Repository not found"}', X_Error_Code="RepoNotFound")


@pytest.fixture
def hub(tmp_path, checkpoint):
    """The server; `requested` holds the paths of its requests."""
    import shutil

    folder = shutil.copytree(checkpoint("bert"), tmp_path / "repository")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.requested = folder, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def find(tmp_path, port, name="acme/tiny", revision=None):
    """Call `find_model` in a fresh process and return its result or error."""
    code = (
        "import json, sys, warnings\n"
        "warnings.simplefilter('error')\n"
        "from finetext.errors import FinetextError\n"
        "from finetext.models import find_model\n"
        f"try: source = find_model({name!r}, revision={revision!r})\n"
        "except FinetextError as error: print(json.dumps({'error': str(error)}))\n"
        "else: print(json.dumps({'folder': str(source.folder), 'revision': source.revision}))\n"
    )
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "no_proxy": "*",
    }
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout.splitlines()[-1])
    if "error" in result:
        assert len(result["error"].splitlines()) <= 2
    return result


def test_a_model_is_pinned_to_its_commit_and_no_code_is_fetched(tmp_path, hub):
    result = find(tmp_path, hub.server_port, revision="main")
    assert result["revision"] == COMMIT
    fetched = {path.name for path in Path(result["folder"]).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert not [path for path in hub.requested if path.endswith((".py", ".bin"))]
    assert hub.requested.index("/acme/tiny/resolve/main/config.json") < min(
        place for place, path in enumerate(hub.requested) if path.endswith(".safetensors")
    )


def test_a_hostile_configuration_is_refused_before_the_weights_are_asked_for(tmp_path, hub):
    path = hub.folder / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModel": "modeling_evil.Evil"}})
    )
    assert "auto_map" in find(tmp_path, hub.server_port)["error"]
    assert not [asked for asked in hub.requested if asked.endswith(".safetensors")]


def test_a_model_missing_from_the_hub_is_reported(tmp_path, hub):
    assert "no such model" in find(tmp_path, hub.server_port, name="acme/none")["error"]
    assert "'v9'" in find(tmp_path, hub.server_port, revision="v9")["error"]


def test_without_a_network_the_cache_is_used_or_the_error_is_one_line(tmp_path, hub):
    first = find(tmp_path, hub.server_port)
    nowhere = 9  # the discard port, on which nothing listens
    assert find(tmp_path, nowhere, revision=COMMIT) == first
    assert find(tmp_path, nowhere) == first
    assert "cannot be reached" in find(tmp_path / "other", nowhere)["error"]
    assert (
        "finetext[embedded]"
        in find(tmp_path / "other", nowhere, name="sentence-transformers/all-MiniLM-L6-v2")["error"]
    )
