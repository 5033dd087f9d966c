"""A real server in a separate process, a client for it, and bundles to serve."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

WORDS = "a warm up the model and its arithmetic for long texts too tea rain prize"
TAKE = "document.title='taken'"
TWELVE = (f"<script>{TAKE}</script>", f"<img src=x onerror={TAKE}>", *(f"label {n}" for n in range(3, 13)))
"""Class names, two of which contain markup that a page must not execute."""


class Server:
    """`finetext serve` with its log in a file, by default on a free port."""

    def __init__(
        self, log: Path, *arguments, token: str | None = None, port: int = 0, wait: bool = True
    ) -> None:
        self.log, self.token = log, token
        environment = {name: value for name, value in os.environ.items() if name != "FINETEXT_TOKEN"}
        if token is not None:
            environment["FINETEXT_TOKEN"] = token
        command = [sys.executable, "-m", "finetext", "serve", *map(str, arguments), "--port", str(port)]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stderr=file, stdout=file, env=environment)
        self.port = self.wait_for("listening")["port"]
        if wait:
            self.wait_for("ready")

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def request_line(self, headers) -> dict:
        """Wait for the log line of a request, which is written after the response, and return it."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            whole = self.log.read_text().rpartition("\n")[0]
            for line in whole.splitlines():
                if f'"id": "{headers["X-Request-Id"]}", "method"' in line:
                    return json.loads(line)
            time.sleep(0.02)
        raise AssertionError(f"no log line of {headers['X-Request-Id']}")

    def wait_for(self, event: str, number: int = 1, seconds: float = 240) -> dict:
        """Wait for the `number`th log line of an event and return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            whole = self.log.read_text().rpartition("\n")[0]
            matches = [line for line in whole.splitlines() if f'"event": "{event}' in line]
            if len(matches) >= number:
                return json.loads(matches[number - 1])
            assert self.process.poll() is None, (self.process.returncode, self.log.read_text()[-2000:])
            time.sleep(0.02)
        raise AssertionError(self.log.read_text()[-2000:])

    def connect(self, seconds: float = 60) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def ask(self, method, path, body=None, headers=(), connection=None):
        """Send a request and return the status, headers and body (decoded if it is JSON) of its response."""
        client = connection or self.connect()
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        sent |= dict(headers)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            client.request(
                method, path, content, {key: value for key, value in sent.items() if value is not None}
            )
            answer = client.getresponse()
            content = answer.read()
        finally:
            if connection is None:
                client.close()
        kind = answer.headers["Content-Type"] or ""
        return answer.status, answer.headers, json.loads(content) if "json" in kind else content.decode()

    def post(self, path, body, **rest):
        status, _, answer = self.ask("POST", path, body, **rest)
        return status, answer

    def metrics(self) -> dict[str, float]:
        page = self.ask("GET", "/metrics")[2]
        return {
            name: float(value) for name, value in re.findall(r"^(finetext\S+) (\S+)$", page, re.MULTILINE)
        }

    def settle(self, name: str, value: float, seconds: float = 30) -> None:
        """Wait until a metric has a value."""
        deadline = time.monotonic() + seconds
        while (current := self.metrics().get(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {current}, not {value}"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def bundle(folder: Path, checkpoint: Path, names, task, *, seed=0, decision=None, **config) -> Path:
    """Save a classifier with a random head whose weights are large enough for probabilities to differ."""
    import dataclasses

    import torch

    from finetext.models import find_model, load_model, output_layer, save_bundle
    from finetext.models.config import ModelConfig

    model = load_model(find_model(str(checkpoint)), tuple(names), task, ModelConfig(**config), seed=seed)
    with torch.no_grad():
        output_layer(model).weight.mul_(20)
    if decision is not None:
        model.settings = dataclasses.replace(model.settings, decision=decision)
    save_bundle(model, folder, {})
    return folder


def fragile_checkpoint(checkpoint: Path, folder: Path) -> Path:
    """Copy a BERT checkpoint, with a tokenizer that fails on unknown words."""
    import shutil

    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    shutil.copytree(checkpoint, folder)
    words = {word: number for number, word in enumerate(["[PAD]", *dict.fromkeys(WORDS.split())])}
    tokenizer = Tokenizer(models.WordLevel(words))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    return folder
