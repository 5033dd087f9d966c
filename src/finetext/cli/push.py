"""`finetext push`."""

from pathlib import Path

from finetext import models
from finetext.cli.console import say, write
from finetext.cli.tables import plain_table


def push(model: Path, repository: str, /, *, public: bool = False, yes: bool = False) -> None:
    """Upload a model to the Hugging Face Hub, into a private repository by default.

    Without --yes it shows what would be uploaded and sends nothing. The token comes from the environment variable
    HF_TOKEN, or from a line HF_TOKEN=… of the file .env in the working directory.

    Args:
        model: A run folder (of which only the model is uploaded), a saved model, or an export.
        repository: owner/name; it is created if it does not exist.
        public: Let anyone read it.
        yes: Upload.
    """
    plan = models.plan_upload(model, repository, public=public)
    table = plain_table("", "file", "bytes")
    for name, size in plan.files:
        table.add_row(name, f"{size:,}")
    kind = "public" if public else "private"
    write(table)
    write(f"{len(plan.files)} files, {plan.size:,} bytes, to the {kind} repository {repository}")
    token = models.find_token(Path())
    if not yes:
        missing = "" if token else " A token is needed for that: set HF_TOKEN, or write it into .env."
        say(f"nothing was uploaded. To upload, repeat the command with --yes.{missing}")
        return
    say(f"uploaded   {models.push(plan, token)}")
