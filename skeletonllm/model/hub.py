"""The Hugging Face Hub: the only place that fetches from it, and sends to it. The token comes from the environment."""

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from skeletonllm.errors import CheckpointError, ConfigError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKEN = "HF_TOKEN"
# What an earlier version of the same student may have left there.
_OURS = ["*.safetensors", "backbone/*", "student.json"]


def is_hub_name(name: str) -> bool:
    """Whether it has the form OWNER/NAME and is no folder here."""
    return _NAME.fullmatch(name) is not None and not Path(name).exists()


def fetch(name: str, files: Sequence[str], revision: str | None = None) -> Path:
    """Files of a repository on the Hub, from this machine's cache where they are there.

    Args:
        name: OWNER/NAME.
        files: names or patterns.
        revision: a commit, branch or tag; by default the newest.

    Returns:
        A folder of the cache, named by the commit.

    Raises:
        CheckpointError: they are not in the cache and cannot be fetched, or the repository has none of them.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(files)))
    except Exception as error:  # the client raises what its own clients raise: HTTP, files, offline, wrong names
        raise CheckpointError(
            f"{name}{f' at {revision}' if revision else ''}: not a folder here, and not to be had from the Hub "
            f"({_why(error)}); check the name and the connection, or give a folder"
        ) from error


def commit_of(folder: Path) -> str:
    """The commit that a folder of the cache holds; empty for any other folder."""
    return folder.name if folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name) else ""


def commit_in_cache(name: str) -> str:
    """The commit of a repository that is used without asking for another; empty where none is in the cache."""
    if not is_hub_name(name):
        return ""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return commit_of(Path(found).parent) if isinstance(found, str) else ""


def check_name(name: str) -> None:
    """Refuse a name that no repository can have.

    Raises:
        ConfigError: it is not of the form OWNER/NAME.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"{name!r} is no name on the Hub; it must be OWNER/NAME")


def check_target(name: str) -> None:
    """Refuse what cannot be sent to, before any work.

    Raises:
        ConfigError: the name is not of the form OWNER/NAME.
        CheckpointError: the environment has no token.
    """
    check_name(name)
    if not os.environ.get(_TOKEN):
        raise CheckpointError(
            f"{name}: no token to write with; make one at https://huggingface.co/settings/tokens and set {_TOKEN}"
        )


def send(folder: Path, name: str, private: bool, message: str) -> str:
    """Send all files of a folder to the Hub as one commit; makes the repository where it is not there.

    Args:
        folder: what it shall hold; weights and settings that are not in it any more are removed there.
        name: OWNER/NAME.
        private: whether a new repository is.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ConfigError, CheckpointError: as for `check_target`, or the Hub refused.
    """
    check_target(name)
    from huggingface_hub import HfApi

    api = HfApi(token=os.environ[_TOKEN], library_name="skeletonllm")
    try:
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message=message, delete_patterns=list(_OURS)
        )
    except Exception as error:  # as above
        raise CheckpointError(
            f"{name}: the Hub did not take it ({_why(error)}); check that the token of {_TOKEN} may write there, "
            "then send it again: what arrived is not sent twice"
        ) from error
    return str(commit.commit_url)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Where what is to be sent is put together."""
    return tempfile.TemporaryDirectory(prefix="skeletonllm-")


def _why(error: Exception) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and the cache does not have it"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
