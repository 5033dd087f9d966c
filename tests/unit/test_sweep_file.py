"""Sweep files: valid content, and error messages for mistakes."""

import dataclasses
from pathlib import Path

import pytest

from finetext.errors import UsageError
from finetext.experiments import SweepPlan, read_sweep, sweep
from finetext.options import check_options
from finetext.training import TrainConfig, override
from finetext.training.config_file import option_types

EXAMPLES = Path(__file__).parents[2] / "examples"


def written(tmp_path, text):
    path = tmp_path / "sweep.toml"
    path.write_text('[data]\nsource = "sample"\n' + text)
    return path


def test_a_grid_has_the_listed_rows_and_then_every_combination(tmp_path):
    path = written(
        tmp_path,
        '[sweep.grid]\ntrainable = ["head", "all"]\nlearning_rate = [1e-3, 1e-4]\nlabel_map = [{a = "b"}]\n'
        '[[sweep.rows]]\nname = "own"\nbatch_size = 4\nclass_weights = {spam = 2}\nbalance = "weights"\n',
    )
    plan = read_sweep(path)
    assert [row.name for row in plan.rows][:2] == [
        "own",
        'trainable=head, learning_rate=0.001, label_map={"a": "b"}',
    ]
    assert plan.total == 5 and plan.rows[0].options["class_weights"] == {"spam": 2.0}
    assert SweepPlan.from_dict(plan.config, plan.to_dict()).rows == plan.rows


def test_every_training_option_can_be_varied(tmp_path):
    written_out = {"keep_adapter": 'trainable = "lora"\n', "class_weights": 'balance = "weights"\n'}
    values = {int: "5", float: "0.3", str: '"a"', bool: "true"}
    for name, (table, kind) in option_types().items():
        if name == "metric":
            continue
        default = getattr(getattr(TrainConfig(), table), name)
        text = next((values[k] for k in (str, int, float, bool) if k is type(default)), None)
        known = getattr(kind, "__args__", ())
        if isinstance(default, str) and known:
            text = f'"{known[-1]}"'
        if name == "trainable":
            text = '"all"'
        if text is None:
            special = {"class_weights": "{a = 1}", "label_map": "{a = 'b'}", "track": "[]", "depth": "1"}
            text = (special | {"threshold": '"f1"'}).get(name)
        if text is None:
            text = "12" if int in known else "0.5" if float in known else '"20GB"'
        path = written(tmp_path, f"[[sweep.rows]]\n{name} = {text}\n" + written_out.get(name, ""))
        assert name in read_sweep(path).rows[0].options


def test_a_search_reads_ranges_and_choices(tmp_path):
    plan = read_sweep(
        written(
            tmp_path,
            '[sweep]\nmethod = "tpe"\ntrials = 7\nmetric = "mcc"\n[sweep.space]\nbatch_size = {low = 4, high = 16}\n'
            'learning_rate = {low = 1e-5, high = 1e-2, log = true}\ntrainable = ["head", "lora"]\n',
        )
    )
    assert plan.total == 7 and plan.config.train.metric == "mcc" and plan.options.prunes
    assert plan.space["batch_size"].whole and plan.space["learning_rate"].log
    assert plan.space["trainable"].choices == ("head", "lora")
    again = SweepPlan.from_dict(plan.config, plan.to_dict())
    assert again.space == plan.space and again.options == plan.options


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no table [sweep]"),
        ("[sweep]\n", "nothing to try"),
        ("[sweep]\nmethd = 'tpe'\n", "Did you mean 'method'?"),
        ("[sweep]\nmethod = 'random'\n", "must be one of grid, tpe"),
        ("[sweep]\ntrials = 0\n", "at least 1"),
        ("[sweep]\nmetric = 'acuracy'\n", "Did you mean 'accuracy'?"),
        ("[train]\nmetric = 'mcc'\n[sweep]\nmetric = 'accuracy'\n", "leave one out"),
        ("[sweep.grid]\nlearnig_rate = [1]\n", "Did you mean 'learning_rate'?"),
        ("[sweep.grid]\nlearning_rate = 1\n", "must be a list"),
        ("[sweep.grid]\nlearning_rate = ['a']\n", "must be a number"),
        ("[sweep.grid]\nmetric = ['mcc']\n", "one metric decides"),
        ("[sweep.grid]\nbatch_size = [0]\n", "batch_size=0: `batch_size` must be at least 1"),
        ("[[sweep.rows]]\nname = 'a'\n[[sweep.rows]]\nname = 'a'\n", "two rows are named 'a'"),
        ("[[sweep.rows]]\nkeep_adapter = true\n", "row 1: `keep_adapter` needs"),
        ("[sweep]\nmethod = 'tpe'\n[sweep.grid]\nseed = [1]\n", 'method = "grid"'),
        ("[sweep.space]\nseed = [1]\n", 'method = "tpe"'),
        ("[sweep]\nmethod = 'tpe'\n[sweep.space]\nseed = {low = 1, hi = 2}\n", "Did you mean 'high'?"),
        ("[sweep]\nmethod = 'tpe'\n[sweep.space]\ndropout = {low = 0, high = 0.2, log = true}\n", "above 0"),
        ("[sweep]\nmethod = 'tpe'\n[sweep.space]\nbatch_size = {low = 2, high = 1}\n", "below `high`"),
        (
            "[sweep]\nmethod = 'tpe'\n[sweep.space]\ndropout = {low = 0, high = 1.5}\n",
            "must be at least 0 and below 1",
        ),
        ("[moddel]\n[sweep.grid]\nseed = [1]\n", "Did you mean 'model'?"),
    ],
)
def test_mistakes_are_reported_with_a_suggestion(tmp_path, text, says):
    with pytest.raises(UsageError) as caught:
        read_sweep(written(tmp_path, text))
    assert says in str(caught.value)


def test_the_data_must_be_named_in_the_command_or_the_file(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text("[sweep.grid]\nseed = [1]\n")
    with pytest.raises(UsageError, match="no data"):
        read_sweep(path)
    assert read_sweep(path, "sample").config.data.source == "sample"


def test_the_small_example_is_a_search(tmp_path):
    plan = read_sweep(EXAMPLES / "sweep.toml", "messages.csv")
    assert plan.options.method == "tpe" and set(plan.space) == {
        "trainable",
        "learning_rate",
        "batch_size",
        "weight_decay",
    }


@pytest.mark.slow
def test_every_row_of_the_textbook_comparison_is_trained(tmp_path, checkpoint, messages):
    plan = read_sweep(EXAMPLES / "textbook.toml", str(messages))
    assert [row.name.split()[0] for row in plan.rows] == [*map(str, range(1, 16)), "19"]
    for row in plan.rows:
        config = override(plan.config, row.options)
        check_options(config)
        assert config.model.model in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
    tiny = str(checkpoint("gpt2"))
    rows = tuple(
        dataclasses.replace(
            row,
            options={
                name: tiny if name == "model" else min(value, 64) if name == "max_length" else value
                for name, value in row.options.items()
            },
        )
        for row in plan.rows
    )
    config = override(plan.config, {"model": tiny, "max_length": 32, "epochs": 1})
    result = sweep(dataclasses.replace(plan, rows=rows, config=config), output=tmp_path / "sweep")
    trials = result.trials
    assert {trial.name for trial in trials} == {row.name for row in plan.rows}
    assert all(trial.state == "complete" for trial in trials), [trial.error for trial in trials]
    accuracies = [trial.value for trial in trials]
    assert accuracies == sorted(accuracies, reverse=True)
    assert result.run.config.data.balance_scope == "all"
