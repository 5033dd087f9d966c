"""Commands print names and texts verbatim, and keep results separate from messages."""

import numpy as np

from finetext.cli.console import note, write
from finetext.cli.progress import ConsoleProgress
from finetext.cli.tables import class_table, plain_table
from finetext.evaluation import compute_metrics


def test_class_names_are_not_parsed_as_markup(capsys):
    targets, probs = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]])
    write(class_table(compute_metrics(targets, probs, ("[red]", ":smile:"), "binary")))
    shown = capsys.readouterr().out
    assert shown.count("[red]") == shown.count(":smile:") == 2  # in its row and its column


def test_results_go_to_stdout_and_messages_to_stderr(capsys):
    table = plain_table("Title", "name")
    table.add_row("cell")
    write("result [b]", table)
    note("notice [b]")
    shown = capsys.readouterr()
    assert shown.out.startswith("result [b]\n") and "cell" in shown.out
    assert shown.err == "note: notice [b]\n"


def test_progress_outside_a_terminal_prints_notices_and_trials_only(capsys):
    with ConsoleProgress() as progress:
        advance = progress.counter("reading texts", 3)
        for _ in range(3):
            advance(1)
        progress.working("labelling", 5, None)
        progress.trial("accuracy 0.9", 2, 10)
        progress.notice("left out")
    assert capsys.readouterr().err.splitlines() == ["  2 of 10  accuracy 0.9", "note: left out"]
