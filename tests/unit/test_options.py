"""Every option is documented, and accepts the names that Trainer's users know."""

import ast
import inspect
import os
import subprocess
import sys

import pytest

from finetext.cli import main
from finetext.data import config as data_config
from finetext.models import config as model_config
from finetext.serving import settings as serve_config
from finetext.training import config as train_config


@pytest.mark.parametrize(
    "module", [data_config, model_config, serve_config, train_config], ids=lambda m: m.__name__
)
def test_every_option_has_a_docstring(module):
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef) or node.name == "TrainConfig":
            continue
        body = [statement for statement in node.body[1:] if not isinstance(statement, ast.FunctionDef)]
        for field, after in zip(body[::2], body[1::2], strict=True):
            assert isinstance(field, ast.AnnAssign)
            assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant), field.target.id


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--num-train-epochs", "2"], {"epochs": 2}),
        (["--per-device-train-batch-size", "4"], {"batch_size": 4}),
        (["--gradient-accumulation-steps", "3"], {"gradient_accumulation": 3}),
        (["--model-name-or-path", "gpt2"], {"model": "gpt2"}),
        (["--lr-scheduler-type", "cosine"], {"schedule": "cosine"}),
        (["--warmup-ratio", "0.1"], {"warmup": 0.1}),
        (["--warmup-steps", "10"], {"warmup": 10.0}),
        (["--max-grad-norm", "0.5"], {"max_gradient_norm": 0.5}),
        (["--eval-steps", "50"], {"eval_every": 50}),
        (["--save-steps", "50"], {"save_every": 50}),
        (["--optim", "sgd"], {"optimizer": "sgd"}),
        (["--label-smoothing-factor", "0.1"], {"label_smoothing": 0.1}),
        (["--metric-for-best-model", "mcc"], {"metric": "mcc"}),
        (["--early-stopping-patience", "2"], {"patience": 2}),
        (["--max-seq-length", "64"], {"max_length": 64}),
        (["--label-map.INFJ", "I", "--label-map.ENFJ", "E"], {"label_map": {"INFJ": "I", "ENFJ": "E"}}),
        (["--track", "mlflow", "--track", "tensorboard"], {"track": ("mlflow", "tensorboard")}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_flags_accept_the_argument_names_of_trainer(flags, options):
    from finetext.cli.app import build_app, typed_options
    from finetext.options import fields_with_values

    _, bound, _ = build_app().parse_args(["train", "data.csv", *flags], exit_on_error=False)
    values = dict(fields_with_values(bound.arguments["options"]))
    assert {name: values[name] for name in options} == options
    assert set(options) <= typed_options()


HEAVY = (
    "torch",
    "transformers",
    "polars",
    "matplotlib",
    "sklearn",
    "numpy",
    "accelerate",
    "peft",
    "datasets",
    "fastapi",
    "uvicorn",
)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["inspect", "--help"], ["predict", "--help"], ["serve", "--help"]],
)
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from finetext.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8", check=False
    )
    assert answer.returncode == 0
    assert "Usage: finetext" in answer.stdout
    assert answer.stderr.strip() == "[]"


def test_the_help_of_a_command_is_its_whole_description(capsys):
    with pytest.raises(SystemExit):
        main(["push", "--help"])
    assert "sends nothing" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("set_before", "expected"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_waiting_threads_sleep_soon_unless_the_environment_says_otherwise(monkeypatch, set_before, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # registers the variable for restoration
        monkeypatch.delenv(name)
    for name, value in set_before.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_all_out_of_range_values_are_reported_with_their_bounds():
    from finetext.errors import UsageError
    from finetext.options import check_options
    from finetext.training import TrainConfig, override

    options = {"depth": 0, "seed": -1, "dropout": float("nan"), "validation": 1.0, "cache_limit": "much"}
    with pytest.raises(UsageError) as caught:
        check_options(override(TrainConfig(), options))
    for message in (
        "`depth` must be at least 1, not 0.",
        "`seed` must be at least 0 and below 4294967296, not -1.",
        "`dropout` must be at least 0 and below 1, not nan.",
        "`validation` must be above 0 and below 1, not 1.0.",
        "`cache_limit`: ",
    ):
        assert message in str(caught.value)
    check_options(override(TrainConfig(), {"depth": "auto"}))
