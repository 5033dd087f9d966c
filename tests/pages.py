"""What the server's page must show for the library's results, and helpers for interacting with it."""

import csv
import io
import json


def percent(share: float) -> str:
    """Format a probability as the page does."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{share * 100:.1f} %"


def answer_line(classifier, text: str) -> str:
    """Return the line above the bars."""
    probs = classifier.predict_proba([text])[0]
    labels = classifier.decide(probs)
    return ", ".join(f"{name} {percent(probs[classifier.class_names.index(name)])}" for name in labels)


def marked_words(explanation) -> list[list[str]]:
    """Return the text and CSS classes of the words that the page highlights in an explanation."""
    largest = max(0.1, *(abs(word.weight) for word in explanation.words))
    marks = []
    for word in explanation.words:
        share = abs(word.weight) / largest
        depth = 1 if share < 0.35 else 2 if share < 0.7 else 3
        if share >= 0.05:
            marks.append([word.word, f"{'for' if word.weight > 0 else 'against'} w{depth}"])
    return marks


def strongest_words(explanation) -> list[list[str]]:
    """Return the rows of the table of strongest words."""
    largest = max(0.1, *(abs(word.weight) for word in explanation.words))
    words = [word for word in explanation.strongest(8) if abs(word.weight) / largest >= 0.05]
    side = {True: "for", False: "against"}
    return [
        [word.word, f"{side[word.weight > 0]} {explanation.label}", f"{word.weight:+.2f}".replace("-", "−")]
        for word in words
    ]


def put_text(page, text: str) -> None:
    """Put a text of any characters into the text area, as pasting would."""
    page.evaluate(
        "text => { const box = document.getElementById('text'); box.value = JSON.parse(text);"
        " box.dispatchEvent(new Event('input')) }",
        json.dumps(text),
    )


def cells(page, rows: str) -> list[list[str]]:
    """Return the texts of a table's cells."""
    return page.evaluate(
        "rows => [...document.querySelectorAll(rows)].map(r => [...r.cells].map(c => c.textContent))", rows
    )


def csv_bytes(records) -> bytes:
    """Return records as a CSV file."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows(records)
    return file.getvalue().encode()


def choose_file(page, content: bytes, name: str = "texts.csv") -> None:
    """Choose a file in the page's file input."""
    page.locator("#file").set_input_files({"name": name, "mimeType": "text/csv", "buffer": content})


def downloaded(page, press) -> tuple[str, list[list[str]]]:
    """Return the name and records of the file that `press` downloads."""
    with page.expect_download() as waiting:
        press()
    content = waiting.value.path().read_bytes().decode()
    limit = csv.field_size_limit(10_000_000)
    try:
        return waiting.value.suggested_filename, list(csv.reader(io.StringIO(content, newline="")))
    finally:
        csv.field_size_limit(limit)
