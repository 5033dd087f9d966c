"""Columns are found by name, or the error lists them and the flags to choose them."""

import polars as pl
import pytest

from finetext.data import DataConfig
from finetext.data.columns import find_columns, find_text_column, label_position
from finetext.errors import DataError, UsageError


def frame_of(*names: str) -> pl.DataFrame:
    return pl.DataFrame({name: ["x"] for name in names})


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["text", "label"], ("text", "label")),
        (["Label", "id", "TEXT"], ("TEXT", "Label")),
        ([" Message ", "Category"], (" Message ", "Category")),
        (["review-text", "Target"], ("review-text", "Target")),
        (["sentence", "labels", "row"], ("sentence", "labels")),
        (["body", "class"], ("body", "class")),
    ],
)
def test_columns_are_found_by_their_names(names, columns):
    assert find_columns(frame_of(*names), DataConfig(), "data.csv") == columns


def test_columns_can_be_named_in_any_case():
    config = DataConfig(text_column="V2", label_column="v1")
    assert find_columns(frame_of("v1", "v2"), config, "data.csv") == ("v2", "v1")


def test_a_named_column_is_not_considered_for_the_other_role():
    config = DataConfig(label_column="topic")
    assert find_columns(frame_of("text", "label", "topic"), config, "data.csv") == ("text", "topic")
    assert (
        find_columns(frame_of("text", "comment", "label"), DataConfig(text_column="text"), "d")[0] == "text"
    )


@pytest.mark.parametrize(
    ("names", "config", "fragments"),
    [
        (["a", "b"], DataConfig(), ["'a', 'b'", "--text-column", "--label-column", "header"]),
        (["text", "b"], DataConfig(), ["no label column", "'text', 'b'", "--label-column"]),
        (["a", "label"], DataConfig(), ["no text column", "--text-column"]),
        (
            ["text", "body", "label"],
            DataConfig(),
            ["2 columns could be the text", "'text', 'body'", "--text-column"],
        ),
        (["text", "label", "class"], DataConfig(), ["2 columns could be the label", "--label-column"]),
        (
            ["text", "label"],
            DataConfig(text_column="txet"),
            ["'txet'", "'text', 'label'", "Did you mean 'text'?"],
        ),
    ],
)
def test_a_missing_or_ambiguous_column_is_refused(names, config, fragments):
    with pytest.raises(DataError) as error:
        find_columns(frame_of(*names), config, "data.csv")
    for fragment in ["data.csv", *fragments]:
        assert fragment in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_one_column_cannot_be_text_and_label():
    with pytest.raises(UsageError, match="both 'text'"):
        find_columns(
            frame_of("text", "label"), DataConfig(label_column="text", text_column="text"), "data.csv"
        )


@pytest.mark.parametrize("labels", [0, 1])
def test_of_two_unnamed_columns_the_one_with_fewer_distinct_values_holds_the_labels(labels):
    cells = [["ham", "spam", "ham"], ["one", "two", "three"]]
    frame = pl.DataFrame({"column 1": cells[labels], "column 2": cells[1 - labels]})
    assert label_position(frame) == labels
    columns = find_columns(frame, DataConfig(), "data", headerless=True)
    assert columns == (f"column {2 - labels}", f"column {labels + 1}")


def test_prediction_needs_a_text_column_only():
    assert find_text_column(frame_of("id", "text"), DataConfig(), "data.csv") == "text"
