"""Uploads to the Hub are confirmed first, private by default, and need a token, which is never shown.

A small local server stands in for the Hub and keeps the uploads. The client reads its address at import, so each upload
runs in a subprocess.
"""

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.parse

import pytest

TOKEN = "hf_SECRETsecretSECRET"
pytestmark = pytest.mark.slow


def is_private(asked):
    """Return whether a repository was created as private, which releases of the client express differently."""
    return asked.get("private") is True or asked.get("visibility") == "private"


class Hub(http.server.BaseHTTPRequestHandler):
    """Creates repositories and accepts their files."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, value=None, **headers):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, header in headers.items():
            self.send_header(name.replace("_", "-"), header)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self):
        hub = self.server
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requested.append((self.command, path))
        if path.startswith("/blobs/"):
            hub.blobs[path.removeprefix("/blobs/")] = body
            return self.answer(200)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid credentials"})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            hub.repositories[name] = asked
            return self.answer(200, {"url": f"http://127.0.0.1:{hub.server_port}/{name}"})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        name = next((repository for repository in hub.repositories if f"/{repository}" in path), None)
        if name is None:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        self.answer_about(name, path, body)

    def answer_about(self, name, path, body):
        hub = self.server
        if "/preupload/" in path:
            files = [
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
                for mode in ["lfs" if file["path"].endswith(".safetensors") else "regular"]
            ]
            self.answer(200, {"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                blob
                | {"actions": {"upload": {"href": f"http://127.0.0.1:{hub.server_port}/blobs/{blob['oid']}"}}}
                for blob in json.loads(body)["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            for line in map(json.loads, body.decode().splitlines()):
                file = line["value"]
                if line["key"] == "file":
                    hub.files[file["path"]] = base64.b64decode(file["content"])
                elif line["key"] == "lfsFile":
                    hub.files[file["path"]] = hub.blobs[file["oid"]]
            address = f"http://127.0.0.1:{hub.server_port}/{name}/commit/{'0' * 40}"
            self.answer(200, {"success": True, "commitUrl": address, "commitOid": "0" * 40})
        elif path == f"/api/models/{name}":
            private = is_private(hub.repositories[name])
            self.answer(200, {"id": name, "private": private, "sha": "0" * 40, "siblings": []})
        else:
            self.answer(404, {"error": "not found"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any


@pytest.fixture
def hub():
    """The server, with its requests and the files it keeps."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.requested, server.repositories, server.files, server.blobs = [], {}, {}, {}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def push(tmp_path, hub, *arguments, token=TOKEN):
    """Run the command in an empty folder and return its exit code and output."""
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub if isinstance(hub, int) else hub.server_port}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "no_proxy": "*",
    }
    environment.pop("HF_TOKEN", None)
    if token is not None:
        environment["HF_TOKEN"] = token
    answer = subprocess.run(
        [sys.executable, "-m", "finetext", "push", *map(str, arguments)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    shown = answer.stdout + answer.stderr
    assert TOKEN not in shown and "Traceback" not in shown
    return answer.returncode, shown


def test_nothing_is_uploaded_before_confirmation_and_then_only_the_model(tmp_path, hub, trained):
    folder = trained("bert").folder
    code, shown = push(tmp_path, hub, folder.path, "acme/tiny")
    assert code == 0 and "nothing was uploaded" in shown and "private repository acme/tiny" in shown
    files = {path.name: path.read_bytes() for path in folder.model.iterdir()}
    for name, content in files.items():
        assert name in shown and f"{len(content):,}" in shown
    assert hub.requested == []
    code, shown = push(tmp_path, hub, folder.path, "acme/tiny", "--yes")
    assert code == 0 and "/acme/tiny" in shown
    assert is_private(hub.repositories["acme/tiny"])
    assert hub.files == files
    digest = hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert hub.blobs == {digest: files["model.safetensors"]}
    again, shown = push(tmp_path, hub, folder.model, "acme/tiny", "--yes")
    assert again == 0, shown


def test_repositories_are_public_only_on_request(tmp_path, hub, trained):
    folder = trained("bert").folder.path
    assert push(tmp_path, hub, folder, "acme/open", "--public", "--yes")[0] == 0
    assert not is_private(hub.repositories["acme/open"])
    hub.files.clear()
    code, shown = push(tmp_path, hub, folder, "acme/open", "--yes")
    assert code == 2 and "is public already" in shown
    assert hub.files == {}


def test_the_token_can_be_read_from_a_file(tmp_path, hub, trained):
    (tmp_path / ".env").write_text(f"# tokens\nOTHER=x\nexport HF_TOKEN='{TOKEN}'\n")
    assert push(tmp_path, hub, trained("bert").folder.path, "acme/tiny", "--yes", token=None)[0] == 0
    assert hub.files


def test_without_a_valid_token_nothing_is_uploaded(tmp_path, hub, trained):
    folder = trained("bert").folder.path
    code, shown = push(tmp_path, hub, folder, "acme/tiny", "--yes", token=None)
    assert code == 2 and "no token of the Hub" in shown and hub.requested == []
    code, shown = push(tmp_path, hub, folder, "acme/tiny", token=None)
    assert code == 0 and "A token is needed" in shown
    code, shown = push(tmp_path, hub, folder, "acme/tiny", "--yes", token="hf_wrong")
    assert code == 1 and "HTTP 401" in shown and "hf_wrong" not in shown
    code, shown = push(tmp_path, hub, folder, "acme/tiny", "--yes", token=f"{TOKEN}\nx")
    assert code == 2 and "no token can have" in shown
    code, shown = push(
        tmp_path, 9, folder, "acme/tiny", "--yes"
    )  # the discard port, on which nothing listens
    assert code == 1 and "cannot be reached" in shown
    assert hub.files == {}


def test_invalid_models_and_names_are_refused(tmp_path, hub, trained):
    folder = trained("bert").folder.path
    assert push(tmp_path, hub, folder, "tiny", "--yes")[0] == 2
    assert push(tmp_path, hub, folder / "splits", "acme/tiny", "--yes")[0] == 1
    assert hub.requested == []
