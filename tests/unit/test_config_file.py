from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetext.errors import UsageError
from finetext.experiments import read_sweep
from finetext.options import check_options, conform
from finetext.training import TrainConfig, override, read_config, write_config
from finetext.training.config_file import option_types

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))


def test_every_option_has_one_name_across_the_tables():
    import dataclasses

    names = [
        field.name
        for section in dataclasses.fields(TrainConfig)
        for field in dataclasses.fields(section.default_factory)
    ]
    assert len(names) == len(set(names)) == len(option_types())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "epochs": st.integers(1, 100),
            "learning_rate": st.none() | st.floats(1e-9, 1),
            "label_map": st.dictionaries(st.text(min_size=1), st.text()),
            "text_column": st.none() | st.text(min_size=1),
            "balance": st.sampled_from(["none", "undersample", "oversample"]),
            "keep_adapter": st.just(False),
            "track": st.lists(st.sampled_from(["tensorboard", "mlflow"]), unique=True),
        },
    )
)
def test_a_written_configuration_is_read_back_the_same(tmp_path_factory, options):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    config = override(TrainConfig(), options)
    write_config(config, path)
    assert read_config(path) == config


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_shipped_recipes_are_valid(path):
    if "[sweep]" in path.read_text():
        read_sweep(path)  # validates every row, and both ends of every range
    else:
        check_options(read_config(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepohcs = 3", "unknown option `epohcs` in [train]. Did you mean 'epochs'?"),
        ("[trian]\nepochs = 3", "unknown table [trian]. Did you mean 'train'?"),
        ("[data]\nepochs = 3", "`epochs` belongs in the table [train], not [data]."),
        ("[train]\nepochs = 'three'", "`epochs` must be a whole number, not 'three'."),
        ("[train]\nepochs = true", "`epochs` must be a whole number, not True."),
        ("[train]\nmetric = 'f1'", "`metric` must be one of accuracy, "),
        ("[train]\ntrack = 'mlflow'", "`track` must be a list, not 'mlflow'."),
        ("[model]\nkeep_adapter = 1", "`keep_adapter` must be true or false, not 1."),
        ("[train\n", "is not valid TOML"),
        ("epochs = 3", "unknown table [epochs]."),
    ],
)
def test_a_mistake_in_the_file_is_reported_with_its_remedy(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such configuration file"):
        read_config(tmp_path / "none.toml")


def test_all_mistakes_are_reported_together():
    config = override(TrainConfig(), {"epochs": 0, "batch_size": -1, "validation": 0.6, "test": 0.6})
    with pytest.raises(UsageError) as caught:
        check_options(config)
    for name in ("epochs", "batch_size", "validation"):
        assert f"`{name}`" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.0},
        {"learning_rate": 11.0},
        {"limit": 0.0},
        {"max_length": 3},
        {"seed": -1},
        {"dropout": 1.0},
        {"patience": 0},
        {"class_weights": {"spam": 2.0}},
        {"balance": "weights", "class_weights": {"spam": 0.0}},
        {"keep_adapter": True},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(UsageError):
        check_options(override(TrainConfig(), options))


def test_an_unknown_keyword_is_answered_with_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean 'learning_rate'"):
        override(TrainConfig(), {"learning_rat": 1.0})


def test_integers_are_accepted_as_floats_but_not_the_reverse():
    assert conform(1, float) == 1.0
    with pytest.raises(ValueError, match="whole number"):
        conform(1.0, int)


def test_default_learning_rates_match_the_help():
    import inspect

    from finetext.training import config
    from finetext.training.plan import LEARNING_RATES

    said = inspect.getsource(config.OptimizationConfig)
    for rate in LEARNING_RATES.values():
        assert f"{rate:.0e}".replace("e-0", "e-") in said
