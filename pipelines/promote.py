"""Which student is the one to use: a pointer in the work folder that only a student which is not worse can move."""

import datetime
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines import assemble
from pipelines.launch import read_run
from pipelines.workdir import Workdir
from skeletonllm.errors import ConfigError, DataError, SkeletonLLMError
from skeletonllm.evaluate.protocols import Protocol, Split
from skeletonllm.plain import digest, from_plain, to_plain, write_whole
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, read_manifest
from skeletonllm.shards.reader import ShardReader
from skeletonllm.skeleton.clip import Source

logger = logging.getLogger(__name__)

PROMOTED = "promoted.json"

Ask = Callable[[CheckpointRef], DatasetRef]


@dataclass(frozen=True)
class Promoted:
    """The student to use, and why it is the one.

    Args:
        checkpoint: the student.
        right: how many of the test clips it recognised.
        total: of how many.
        test_clips: digest of these clips and the candidate actions, so that another test is seen to be another.
        reason: why it took the place of `previous`, with both numbers.
        previous: the student before it, None for the first.
        promoted_at: when.
    """

    checkpoint: CheckpointRef
    right: int
    total: int
    test_clips: str
    reason: str
    previous: CheckpointRef | None
    promoted_at: str


@dataclass(frozen=True)
class Decision:
    """What came of a candidate: whether it is the promoted student now, and why."""

    candidate: CheckpointRef
    is_promoted: bool
    reason: str


def read_promoted(workdir: Workdir) -> Promoted | None:
    """The promoted student of a work folder; None before the first.

    Raises:
        ConfigError: the pointer is damaged.
    """
    path = workdir.path / PROMOTED
    try:
        return from_plain(Promoted, json.loads(path.read_text()), str(path))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON ({error}); delete it: the next retraining promotes its student") from error


def promote(
    workdir: Workdir, clips: DatasetRef, candidate: CheckpointRef, ask: Ask, tolerance: float = 0.0
) -> Decision:
    """Make the candidate the promoted student, unless it recognises fewer of the same test clips.

    Where the test clips are others than those that the promoted student was judged by, it is asked again, about those
    that did not train it.

    Args:
        workdir: holds the pointer, `promoted.json`, which is replaced in one step.
        clips: the data set whose test clips judge.
        candidate: a trained student.
        ask: the answers of a student to the test clips; answers that are there already are not asked for again.
        tolerance: the share of clips that a candidate may recognise less.

    Raises:
        ConfigError: the tolerance is no share, or the pointer is damaged.
        DataError: no clip tests.
    """
    if not 0 <= tolerance < 1:
        raise ConfigError(f"tolerance is {tolerance}, must be a share from 0 to below 1, such as 0.01")
    promoted = read_promoted(workdir)
    if promoted is not None and promoted.checkpoint.fingerprint == candidate.fingerprint:
        return _decided(candidate, True, f"it is so already ({promoted.reason})")
    answers = ask(candidate)
    rights = _rights(clips, answers)
    if not rights:
        raise DataError(f"{answers.path}: no clip was tested, so no student can be promoted; hold some out")
    test_clips = _digest_of(clips, answers)
    if promoted is None:
        may, reason = True, f"the first: {_share(sum(rights.values()), len(rights))}"
    else:
        may, reason = _compare(promoted, clips, rights, test_clips, ask, tolerance)
    if may:
        previous = promoted.checkpoint if promoted else None
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        pointer = Promoted(candidate, sum(rights.values()), len(rights), test_clips, reason, previous, now)
        write_whole(workdir.path / PROMOTED, json.dumps(to_plain(pointer), indent=2, ensure_ascii=False) + "\n")
    return _decided(candidate, may, reason)


def _decided(candidate: CheckpointRef, is_promoted: bool, reason: str) -> Decision:
    said = "is promoted" if is_promoted else "is not promoted"
    logger.info("%s %s %s: %s", candidate.name, candidate.fingerprint[:12], said, reason)
    return Decision(candidate, is_promoted, reason)


def _compare(
    promoted: Promoted, clips: DatasetRef, rights: dict[str, bool], test_clips: str, ask: Ask, tolerance: float
) -> tuple[bool, str]:
    """Whether a candidate is not worse than the promoted student, and the reason with both numbers."""
    name = f"the promoted {promoted.checkpoint.fingerprint[:12]}"
    if not Path(promoted.checkpoint.path).is_dir():
        return True, f"{_share(sum(rights.values()), len(rights))}; {name} is no longer at {promoted.checkpoint.path}"
    if promoted.test_clips == test_clips:
        common, before, told = set(rights), promoted.right, ""
    else:
        logger.info("the test clips are others than those that judged %s: it is asked again", name)
        old = _rights(clips, ask(promoted.checkpoint))
        common = set(rights) & set(old) - _trained(promoted.checkpoint)
        if not common:
            return True, (
                f"{_share(sum(rights.values()), len(rights))}; {name} cannot be compared: the test clips are others, and "
                "all of them trained it"
            )
        before = sum(old[clip] for clip in common)
        left_out = len(rights) - len(common)
        told = "; the test clips are others than before, so it was asked again"
        told += f", without {left_out} that trained it" if left_out else ""
    right = sum(rights[clip] for clip in common)
    allowed = f", {tolerance:.1%} less is allowed" if tolerance else ""
    reason = f"{_share(right, len(common))}, {name} {_share(before, len(common))}{allowed}{told}"
    return right >= before - tolerance * len(common), reason


def _share(right: int, total: int) -> str:
    return f"{right} of {total} test clips ({right / total:.1%})"


def _rights(clips: DatasetRef, answers: DatasetRef) -> dict[str, bool]:
    """Whether each test clip was recognised; clips of formats never trained on do not judge."""
    tested = _clips_of(clips, answers, "test")
    rows = ShardReader(answers).table().select(["clip_id", "action", "predicted"]).to_pylist()
    return {row["clip_id"]: row["action"] == row["predicted"] for row in rows if row["clip_id"] in tested}


def _digest_of(clips: DatasetRef, answers: DatasetRef) -> str:
    """Of the tested clips, by id and by the bytes of their recordings, and of the candidate actions."""
    tested, actions = _clips_of(clips, answers, "test"), read_manifest(answers.path).config["actions"]
    asked = _rights(clips, answers)
    return digest([sorted((clip, source.sha256) for clip, source in tested.items() if clip in asked), actions])


def _trained(checkpoint: CheckpointRef) -> set[str]:
    """The clips that trained a student, by id."""
    run = read_run(checkpoint)
    try:
        return set(_clips_of(run.clips, run.examples, "train"))
    except SkeletonLLMError as error:
        raise DataError(
            f"{checkpoint.path}: cannot be compared with another student, for the clips that trained it are not known "
            f"({error}); bring them back, or delete {PROMOTED} to promote the next student without a comparison"
        ) from error


def _clips_of(clips: DatasetRef, made: DatasetRef, split: Split) -> dict[str, Source]:
    """The clips of a split, by the protocol of a data set that was made from them, and where they come from."""
    protocol = from_plain(Protocol, read_manifest(made.path).config["protocol"], made.path)
    ids = ShardReader(clips).table().select(["clip_id"])["clip_id"].to_pylist()
    known = zip(ids, assemble.sources(clips), strict=True)
    return {clip: source for clip, source in known if protocol.split_of(source) == split}
