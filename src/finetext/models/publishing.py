"""Uploading a saved model to the Hugging Face Hub."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from finetext.errors import RunError, UsageError, hub_errors
from finetext.models.bundle import is_exported
from finetext.models.resolve import HUB_ID
from finetext.models.safety import check_folder
from finetext.runs import model_folder

TOKEN = "HF_TOKEN"
_TOKEN_LINE = re.compile(rf"(?:export\s+)?{TOKEN}\s*=\s*(['\"]?)(.*?)\1")


@dataclass(frozen=True)
class Upload:
    """What would be uploaded.

    Attributes:
        folder: The model.
        repository: `owner/name`.
        public: Whether anyone may read it.
        files: Name and bytes of each file.
    """

    folder: Path
    repository: str
    public: bool
    files: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.files)


def plan_upload(path: Path, repository: str, *, public: bool = False) -> Upload:
    """Return what an upload of a model would send; nothing is sent.

    Args:
        path: A run folder (of which the model alone is uploaded), a bundle or an export.
        repository: `owner/name`.
        public: Whether anyone may read it.

    Raises:
        ModelError: There is no model, or one that is damaged or not safe to load.
        UsageError: `repository` is not the name of one.
    """
    if not HUB_ID.fullmatch(repository):
        raise UsageError(f"{repository!r} is not the name of a repository. Write it as owner/name.")
    folder = model_folder(path)
    check_folder(folder, exported=is_exported(folder))
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    return Upload(folder, repository, public, tuple((path.name, path.stat().st_size) for path in paths))


def find_token(folder: Path) -> str | None:
    """Return the token of the environment variable HF_TOKEN, else of the line `HF_TOKEN=…` of `folder/.env`.

    Raises:
        UsageError: It contains characters that no token can have. The message does not show it.
    """
    token, place = os.environ.get(TOKEN, "").strip(), TOKEN
    path = folder / ".env"
    if not token and path.is_file():
        place = str(path)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        tokens = [match[2] for line in lines if (match := _TOKEN_LINE.fullmatch(line.strip()))]
        token = tokens[-1].strip() if tokens else ""
    if token and not re.fullmatch(r"[\x21-\x7e]+", token):
        raise UsageError(f"{place}: the token contains characters that no token can have. Copy it again.")
    return token or None


def push(upload: Upload, token: str | None) -> str:
    """Upload a model and return the address of its page.

    The repository is made if it is not there. Into one that is public already nothing goes unless `public` says so.

    Args:
        upload: What `plan_upload` gave.
        token: A token of the Hub with the right to write.

    Raises:
        RunError: The Hub refuses, or cannot be reached.
        UsageError: There is no token, or the repository is public and `public` was not asked for.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if token is None:
        raise UsageError(
            f"no token of the Hub. Set {TOKEN}, or write {TOKEN}=… into the file .env here; it needs the right to "
            "write (huggingface.co/settings/tokens)."
        )
    api = HfApi(token=token, library_name="finetext")
    try:
        if not api.repo_exists(upload.repository):
            api.create_repo(upload.repository, private=not upload.public)
        elif not upload.public and not api.repo_info(upload.repository).private:
            raise UsageError(
                f"{upload.repository}: is public already. Pass --public, or choose another name."
            )
        api.upload_folder(
            repo_id=upload.repository,
            folder_path=upload.folder,
            allow_patterns=[name for name, _ in upload.files],
            commit_message="Upload a classifier trained with finetext",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        remedy = {401: " Is the token right?", 403: " May the token write there?"}.get(status, "")
        raise RunError(f"{upload.repository}: the Hub refuses the upload (HTTP {status}).{remedy}") from error
    except hub_errors() as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].replace(token, "…")
        raise RunError(f"{upload.repository}: the Hub cannot be reached ({reason}).") from error
    return f"{api.endpoint}/{upload.repository}"
