"""The built-in datasets that are downloaded."""

import hashlib
import zipfile
from pathlib import Path

from finetext.data.config import DataConfig
from finetext.data.download import Archive, fetch
from finetext.data.readers.table import read_table
from finetext.data.sources import Loaded, Part
from finetext.errors import DownloadError

SMS_SPAM = Archive(
    url="https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
    digest="1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",
    file="sms-spam-collection.zip",
)
SMS_SPAM_MEMBER = "SMSSpamCollection"


def load_sms_spam(archive: Archive = SMS_SPAM) -> Loaded:
    """Return the SMS Spam Collection (UCI 228, CC BY 4.0), downloaded on first use.

    Args:
        archive: Where it comes from.

    Raises:
        DownloadError: It could not be fetched, or is not the published file.
    """
    path = fetch(archive)
    content = read_member(path, SMS_SPAM_MEMBER)
    table = read_table(content, DataConfig(format="two-column"), "sms-spam")
    return Loaded("sms-spam", (Part(None, table),), (path,), hashlib.sha256(content).hexdigest())


def read_member(path: Path, member: str) -> bytes:
    """Return the content of one member of a zip file; nothing is ever extracted to a path.

    Raises:
        DownloadError: The archive is damaged or has no such member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except KeyError as error:
        raise DownloadError(f"{path}: the archive has no file {member!r}.") from error
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise DownloadError(f"{path}: not a readable zip file: {error}. Delete it and try again.") from error
