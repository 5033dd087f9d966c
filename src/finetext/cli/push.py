"""`finetext push`."""

from pathlib import Path


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
    from finetext.cli.console import data, say, write
    from finetext.cli.tables import plain_table
    from finetext.models import find_token, plan_upload
    from finetext.models import push as upload

    plan = plan_upload(model, repository, public=public)
    table = plain_table("", "file", "bytes")
    for name, size in plan.files:
        table.add_row(name, f"{size:,}")
    data().print(table, markup=False)
    kind = "public" if public else "private"
    write(f"{len(plan.files)} files, {plan.size:,} bytes, to the {kind} repository {repository}")
    token = find_token(Path())
    if not yes:
        missing = "" if token else " A token is needed for that: set HF_TOKEN, or write it into .env."
        say(f"nothing was uploaded. To upload, repeat the command with --yes.{missing}")
        return
    say(f"uploaded   {upload(plan, token)}")
