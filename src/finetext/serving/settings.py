"""The options of the server, and what is derived from them before it starts: model names, token, address."""

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from finetext.errors import UsageError
from finetext.options import Above0, AtLeast0, AtLeast1, Bounds, Parameter

TOKEN_VARIABLE = "FINETEXT_TOKEN"  # the name of the variable, not a token
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ServeConfig:
    """Server."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but a loopback address requires a token."""
    port: Annotated[int, Bounds(at_least=0, at_most=65535)] = 8000
    """Port to listen on; 0 picks a free one, which the first line of the log names."""
    token_file: Path | None = None
    """File with the bearer token that clients must send; by default the environment variable FINETEXT_TOKEN."""
    insecure: Annotated[bool, Parameter(negative=())] = False
    """Listen beyond this machine without a token."""
    allow_host: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Another host name to accept in the Host header; may be repeated."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device that the models run on."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "fp32"
    """Precision of the forward pass."""
    max_tokens: Annotated[int | None, AtLeast1] = None
    """Maximum tokens in a batch; by default what suits the device."""
    max_wait_ms: Annotated[float, AtLeast0] = 3.0
    """Longest time in ms to wait for more requests before running a batch. A request to an idle server never waits."""
    max_body: Annotated[int, AtLeast1] = 2_097_152
    """Maximum bytes in a request's body."""
    max_texts: Annotated[int, AtLeast1] = 256
    """Maximum texts in a request."""
    max_characters: Annotated[int, AtLeast1] = 100_000
    """Maximum characters in a text."""
    max_queue: Annotated[int, AtLeast1] = 1024
    """Maximum texts waiting for a model. A request that would exceed it is refused, unless nothing is waiting."""
    max_requests: Annotated[int, AtLeast1] = 512
    """Maximum concurrent requests, waiting ones included."""
    timeout_seconds: Annotated[float, Above0] = 30.0
    """Maximum seconds for a request, including receiving its body."""
    drain_seconds: Annotated[float, AtLeast0] = 1.0
    """Seconds between the stop signal, when /ready turns to 503, and closing the listening socket."""
    shutdown_seconds: Annotated[float, Above0] = 30.0
    """Hard deadline after the stop signal, in seconds; unfinished requests are dropped."""


LIMITS = ("max_body", "max_texts", "max_characters", "max_queue", "max_requests", "timeout_seconds")
"""The limits that `/info` reports."""


def name_models(arguments: Sequence[str]) -> dict[str, Path]:
    """Return the name and folder of each model from `FOLDER` or `NAME=FOLDER`, the default one first.

    Raises:
        UsageError: There is none, a folder is missing, or a name is used twice or not fit for a URL or a metric.
    """
    if not arguments:
        raise UsageError("name a model: finetext serve RUN, or several: finetext serve a=RUN1 b=RUN2")
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, folder = _name_model(argument)
        if name in folders:
            raise UsageError(f"{argument}: the name {name!r} is used twice. Name the models: NAME=FOLDER.")
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder. Name a run folder or a saved model.")
        folders[name] = folder
    return folders


def _name_model(argument: str) -> tuple[str, Path]:
    name, equals, rest = argument.partition("=")
    if equals and not Path(argument).is_dir():
        if not _NAME.fullmatch(name):
            raise UsageError(f"{argument}: a model's name consists of letters, digits, dots, - and _.")
        if not rest:
            raise UsageError(f"{argument}: the folder is missing. Name the models: NAME=FOLDER.")
        return name, Path(rest)
    folder = Path(argument).resolve()
    stem = folder.parent.name if folder.name == "model" else folder.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:64] or "model", Path(argument)


def read_token(config: ServeConfig) -> str | None:
    """Return the bearer token that clients must send, None for none.

    Raises:
        UsageError: It cannot be read, is empty, or is not valid in a header.
    """
    if config.token_file is not None:
        where = f"--token-file {config.token_file}"
        try:
            token: str | None = config.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where}: cannot be read. Name a text file that holds the token.") from error
    else:
        where, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE)
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UsageError(f"{where}: a token must be one word of visible ASCII characters.")
    return token


def listen(config: ServeConfig, token: str | None) -> socket.socket:
    """Return a socket that listens on the configured address.

    Raises:
        UsageError: The address cannot be used, or is reachable from other machines and no token is set.
    """
    try:
        addresses = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"--host {config.host}: is not an address of this machine.") from error
    family, address = addresses[0][0], addresses[0][4]
    if token is None and not config.insecure and not ipaddress.ip_address(address[0]).is_loopback:
        raise UsageError(
            f"--host {config.host}: reachable from other machines, and no token is set. "
            f"Set {TOKEN_VARIABLE} or --token-file, or pass --insecure."
        )
    # With the protocol named, which `socket.create_server` does not do: only then asyncio sets TCP_NODELAY, without
    # which small responses wait 40 ms for the client's acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name != "nt":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"--host {config.host} --port {config.port}: cannot be listened on ({error.strerror}). "
            "Choose another --port."
        ) from error
    return listening
