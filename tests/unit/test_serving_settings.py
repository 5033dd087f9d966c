"""The server's options and their validation."""

import dataclasses
import socket
import sys

import pytest

from finetext.errors import UsageError
from finetext.options import check_options
from finetext.serving.settings import ServeConfig, listen, name_models, read_token


def test_the_defaults_are_safe():
    config = ServeConfig()
    check_options(config, as_flags=True)
    assert config.host == "127.0.0.1" and not config.insecure and config.token_file is None


def test_all_invalid_options_are_reported_together():
    wrong = {
        "port": 70000,
        "max_texts": 0,
        "timeout_seconds": float("nan"),
        "max_tokens": 0,
        "drain_seconds": -1,
    }
    with pytest.raises(UsageError) as caught:
        check_options(dataclasses.replace(ServeConfig(), **wrong), as_flags=True)
    assert all(f"--{name.replace('_', '-')} " in str(caught.value) for name in wrong)


def test_models_are_named_by_their_folders_or_explicitly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/spam run-1/model", "b", "x=y"):
        (tmp_path / name).mkdir(parents=True)
    assert list(name_models(["runs/spam run-1/model"])) == ["spam-run-1"]
    assert list(name_models(["runs/spam run-1", "second=b"])) == ["spam-run-1", "second"]
    assert [path.name for path in name_models(["x=y"]).values()] == [
        "x=y"
    ]  # a folder whose name contains an equals sign
    assert list(name_models(["."])) == [tmp_path.name]
    with pytest.raises(UsageError, match="b=: the folder is missing"):
        name_models(["a=b", "b="])


def test_the_token_comes_from_the_file_or_else_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("FINETEXT_TOKEN", raising=False)
    assert read_token(ServeConfig()) is None
    monkeypatch.setenv("FINETEXT_TOKEN", "one")
    assert read_token(ServeConfig()) == "one"
    file = tmp_path / "token"
    file.write_text("  two\n")
    assert read_token(ServeConfig(token_file=file)) == "two"
    for wrong in (b"", b"\n", b"two words", "zwölf".encode(), b"\xff"):
        file.write_bytes(wrong)
        with pytest.raises(UsageError, match="token"):
            read_token(ServeConfig(token_file=file))


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, capsys, package):
    from finetext.cli import main

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(tmp_path)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert 'pip install "finetext[serve]"' in said and package in said


def test_the_socket_gets_tcp_nodelay():
    with listen(ServeConfig(port=0), None) as listening:
        # asyncio sets TCP_NODELAY only on connections of such a socket.
        assert listening.proto == socket.IPPROTO_TCP
