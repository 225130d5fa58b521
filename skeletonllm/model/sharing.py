"""Students on their way to other people: to the Hub, with a card, and only what a stranger can load."""

from pathlib import Path

from skeletonllm.errors import CheckpointError
from skeletonllm.model import hub
from skeletonllm.model.card import base_model
from skeletonllm.model.config import TINY
from skeletonllm.model.folder import copy_student, save_student
from skeletonllm.model.stored import CARD, Stored
from skeletonllm.model.student import SkeletonLLM

_MESSAGE = "Upload a student of SkeletonLLM"


def push_student(student: SkeletonLLM, name: str, private: bool = False, message: str = "") -> str:
    """Send a student to the Hub. A backbone that strangers cannot load from the Hub goes with it.

    Args:
        student: what is sent.
        name: OWNER/NAME.
        private: whether a new repository is.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: the name cannot be one on the Hub.
        CheckpointError: there is no token, or the Hub refused.
    """
    hub.check_target(name)
    with hub.temporary_folder() as place:
        folder = Path(place) / "student"
        save_student(student, folder, whole=not hub.is_hub_name(student.config.backbone.name))
        return hub.send(folder, name, private, message or _MESSAGE)


def push_folder(source: Path, stored: Stored, name: str, private: bool = False, message: str = "") -> str:
    """Send a student's folder to the Hub as it is, without loading it.

    Args:
        source: its folder.
        stored: what the copy on the Hub says of itself.
        name: OWNER/NAME.
        private: whether a new repository is.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: the name cannot be one on the Hub.
        CheckpointError: it needs a backbone of this machine, a file is damaged, there is no token, or the Hub refused.
    """
    check_shareable(source, stored)
    hub.check_target(name)
    with hub.temporary_folder() as place:
        copy_student(source, stored, Path(place))
        return hub.send(Path(place), name, private, message or _MESSAGE)


def check_shareable(source: Path, stored: Stored) -> None:
    """Refuse a student that works on this machine only.

    Raises:
        CheckpointError: its backbone is a folder here.
    """
    if not stored.whole and stored.config.backbone.name != TINY and not base_model(stored):
        raise CheckpointError(
            f"{source}: its backbone is the folder {stored.config.backbone.name}, which others do not have; "
            f"`skeletonllm merge {source} -o FOLDER` writes a student that has it inside"
        )


def described(source: Path, stored: Stored, name: str) -> str:
    """What `push_folder` would send, and the card, once every file is checked; nothing is sent.

    Raises:
        ConfigError: the name cannot be one on the Hub.
        CheckpointError: it needs a backbone of this machine, or a file is damaged.
    """
    check_shareable(source, stored)
    hub.check_name(name)
    with hub.temporary_folder() as place:
        copy_student(source, stored, Path(place))
        files = sorted(path for path in Path(place).rglob("*") if path.is_file())
        lines = [f"{path.stat().st_size:>14,}  {path.relative_to(place)}" for path in files]
        total = sum(path.stat().st_size for path in files)
        card = (Path(place) / CARD).read_text(encoding="utf-8")
    return "\n".join((f"{name} would get {len(files)} files, {total:,} bytes:", *lines, "", card))
