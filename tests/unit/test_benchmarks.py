"""The parts of the benchmarks that can be tested without timing anything."""

import pytest
from benchmarks import data, floor, tables
from benchmarks.suites import SUITES


def test_writing_a_section_changes_nothing_else_in_the_readme(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmark: x -->\nold\n<!-- end of benchmark: x -->\nafter\n")
    tables.write_section(readme, "x", tables.table(["a", "b"], [["one", "2"]]))
    tables.write_section(readme, "x", tables.table(["a", "b"], [["one", "3"]]))
    assert readme.read_text() == (
        "before\n<!-- benchmark: x -->\n| a | b |\n|---|---:|\n| one | 3 |\n<!-- end of benchmark: x -->\nafter\n"
    )
    with pytest.raises(SystemExit, match="no place"):
        tables.write_section(readme, "y", "text")


def test_the_readme_has_a_section_for_every_suite(pytestconfig):
    readme = (pytestconfig.rootpath / "README.md").read_text()
    assert all(f"<!-- benchmark: {name} -->" in readme for name in SUITES)


def test_operations_of_a_layer_are_counted():
    # One layer below the cut, one above; width 2, MLP 8: a token in a whole layer takes 2 * (4 * 4 + 2 * 16) = 96.
    trunk, tail = floor.operations(
        tokens=10, trained_tokens=10, trained_texts=2, layers=1, tail=1, width=2, mlp=8
    )
    assert trunk == 960
    keys = 10 * 16  # key and value of each token, 2 * 2 * 4
    rest = 2 * 80
    assert tail == 3 * (keys + rest) - keys


def test_balanced_messages_are_distinct():
    messages = [("win", "spam"), ("win", "spam"), ("tea", "ham"), ("tea", "ham"), ("rain", "ham")]
    chosen = data.balanced(messages)
    assert len({text for text, _ in chosen}) == len(chosen) == 4
    assert sorted(label for _, label in chosen) == ["ham", "ham", "spam", "spam"]


def test_splits_survive_a_round_trip(tmp_path):
    examples = [(f'text, {n}\n"quoted"', "spam" if n % 2 else "ham") for n in range(10)]
    written = data.write_splits(examples, tmp_path, (0.6, 0.2))
    assert data.read_splits(tmp_path) == written
    assert [len(texts) for texts, _ in written.values()] == [6, 2, 2]
