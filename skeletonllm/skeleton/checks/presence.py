"""Who and what was seen at all: lost frames, joints not seen, people who come and go, frames that repeat."""

from collections.abc import Iterator

import numpy as np

from skeletonllm.skeleton.checks.finding import Finding, Level
from skeletonllm.skeleton.checks.landmarks import Body, dot

# Kinect recordings and mocap of the field have all joints in all frames; a fifth missing is a tracker in trouble.
MUCH_UNSEEN = 0.2
# Fewer frames than this hold no movement that a renderer could show (it draws 12).
SHORT_FRAMES = 10
# Equal poses in a row: none in 3,400 recordings of sensors, at most 9 % in pose estimates of videos.
MUCH_REPEATED = 0.2
STILL_S = 1.0
_NAMED_JOINTS = 4


def check_presence(body: Body) -> Iterator[Finding]:
    """What was not seen, and what repeats."""
    yield from _short(body)
    yield from _unseen(body)
    yield from _people(body)
    yield from _zeros(body)
    yield from _repeated(body)
    if not body.clip.action:
        yield Finding(body.clip.clip_id, "note", "no-action", "no action is known")


def _short(body: Body) -> Iterator[Finding]:
    frames = body.clip.num_frames
    if frames < SHORT_FRAMES:
        text = f"{frames} frames ({body.clip.duration_s:.2f} s), fewer than {SHORT_FRAMES}"
        yield Finding(body.clip.clip_id, "warning", "short", text)


def _unseen(body: Body) -> Iterator[Finding]:
    """Whole frames in which nobody was seen, and single joints of people who were."""
    if body.seen.all():
        return
    clip, anybody = body.clip, np.asarray(body.present.any(0))
    lost = 1 - float(anybody.mean())
    if lost:
        runs = _longest_run(~anybody)
        text = f"nobody was seen in {lost:.1%} of the frames ({(~anybody).sum()} of {clip.num_frames}, {runs} in a row)"
        yield Finding(clip.clip_id, _by_share(lost), "lost-frames", text)
    shares = 1 - body.seen[body.present].mean(0)
    never = np.flatnonzero(shares == 1)
    root = clip.topology.order[0]
    if list(never) == [root] and len(shares) > 2:
        text = f"joint {clip.topology.joint_names[root]} is (0, 0, 0) in every frame: the recording is centred on it"
        yield Finding(clip.clip_id, "warning", "centred", text)
        shares = np.delete(shares, root)
        if not shares.any():
            return
        names = [name for joint, name in enumerate(clip.topology.joint_names) if joint != root]
    else:
        names = list(clip.topology.joint_names)
    share = float(shares.mean())
    if share:
        worst = [place for place in np.argsort(-shares, kind="stable")[:_NAMED_JOINTS] if shares[place] > 0]
        told = ", ".join(f"{names[place]} {_percent(float(shares[place]))}" for place in worst)
        more = int((shares > 0).sum()) - len(worst)
        text = f"{_percent(share)} of the joints were not seen: {told}" + (f" and {more} more" if more else "")
        yield Finding(clip.clip_id, _by_share(share), "unseen", text)


def _people(body: Body) -> Iterator[Finding]:
    clip = body.clip
    counts = body.present.sum(0)
    counts = counts[counts > 0]
    if clip.num_persons > 1 and counts.min() != counts.max():
        changes = int((np.diff(counts) != 0).sum())
        text = f"{counts.min()} to {counts.max()} persons at a time; the number changes {changes} times"
        yield Finding(clip.clip_id, "note", "persons", text)


def _zeros(body: Body) -> Iterator[Finding]:
    """Readers mark (0, 0, 0) as not seen; a clip made by hand may not. A root alone may well stand at the origin."""
    zeros = body.seen & (dot(body.places, body.places) == 0)
    zeros[:, :, body.clip.topology.order[0]] &= zeros.sum(-1) > 1
    if zeros.any():
        text = f"{_percent(float(zeros.mean()))} of the joints are at (0, 0, 0) and yet count as seen"
        yield Finding(body.clip.clip_id, "warning", "zeros", text)


def _repeated(body: Body) -> Iterator[Finding]:
    clip = body.clip
    if clip.num_frames < SHORT_FRAMES:
        return
    as_before = (body.seen[:, 1:] == body.seen[:, :-1]).all((0, 2)) & body.present[:, 1:].any(0)
    same = as_before & ~body.steps.any((0, 2))
    share = float(same.sum() / clip.num_frames)
    if share == 0:
        return
    longest = _longest_run(same)
    if longest / clip.fps >= STILL_S:
        text = f"the same pose for {longest / clip.fps:.1f} s ({longest + 1} frames in a row)"
        yield Finding(clip.clip_id, "warning", "frozen", text)
    elif share >= MUCH_REPEATED:
        text = f"{share:.0%} of the frames repeat the one before: {clip.fps * (1 - share):.3g} different ones a second"
        yield Finding(clip.clip_id, "warning", "repeated-frames", text + f", not {clip.fps:g}")


def _longest_run(flags: np.ndarray) -> int:
    """The longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _by_share(share: float) -> Level:
    return "warning" if share >= MUCH_UNSEEN else "note"


def _percent(share: float) -> str:
    """Without saying 0 % of something that is there, or 100 % where something is left."""
    if 0 < share < 0.001:
        return "under 0.1%"
    return f"{share:.0%}" if share == 1 or 0.1 <= share < 0.995 else f"{share:.1%}"
