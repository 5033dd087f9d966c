"""`python -m benchmarks`: run the suites, print their tables, and with `--write` put them into the README."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import data, tables
from benchmarks.suites import SUITES, Place


def main() -> None:
    """Run the suites named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", help=f"suites to run: {', '.join(SUITES)}; all by default")
    parser.add_argument(
        "--full", action="store_true", help="run slow baselines in full instead of extrapolating"
    )
    parser.add_argument(
        "--sms", default=data.default("sms_spam/SMSSpamCollection"), help="the SMS Spam Collection"
    )
    parser.add_argument(
        "--data", default=data.default(""), help="folder of the data sets of the suite `defaults`"
    )
    parser.add_argument(
        "--tokenizer", default=data.default("", "tokenizers/gpt2"), help="GPT-2's vocab and merges"
    )
    parser.add_argument("--gpt2", help="a GPT-2 checkpoint; by default its shape with random weights")
    parser.add_argument("--work", help="folder for checkpoints and data; a temporary one by default")
    parser.add_argument("--write", action="store_true", help="write the tables into README.md")
    options = parser.parse_args()
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"unknown suite {unknown[0]!r}; known suites: {', '.join(SUITES)}")
    with tempfile.TemporaryDirectory() as temporary:
        place = Place(
            Path(options.work or temporary),
            options.sms,
            options.data,
            options.tokenizer,
            options.gpt2,
            options.full,
        )
        for name in options.suites or SUITES:
            text = SUITES[name](place)
            print(text, flush=True)
            if options.write:
                tables.write_section(Path("README.md"), name, text)


if __name__ == "__main__":
    sys.exit(main())
