"""Whether what was recorded is a body: its size, which way it stands, its bones, and people who are chairs."""

from collections.abc import Iterator

import numpy as np

from skeletonllm.skeleton.checks.finding import Finding
from skeletonllm.skeleton.checks.landmarks import Body, length, quantile
from skeletonllm.skeleton.spaces import BODY_M

# Twice below or above what people are is a wrong unit, not a child or a giant.
_WRONG_UNIT = 2.0
# A body axis within 30 degrees of the vertical stands, beyond 60 degrees lies, in nine of ten frames.
_STANDS, _LIES, _MOST = np.cos(np.radians(30)), np.cos(np.radians(60)), 0.9
# In half the frames, the usual bone differs from its median length by more than this share. Measured: mocap 0, Kinect v2
# up to 0.05, Kinect v1 up to 0.15.
BONES_VARY = 0.2
_SMALL_BONE_M = 0.05  # of a shorter one, noise is most of the length
# Somebody whose joints all stay within half a centimetre for a second is furniture; the stillest person sways 15 mm.
STILL_M = 0.005
STILL_S = 1.0


def check_shape(body: Body) -> Iterator[Finding]:
    """Size, uprightness, bones, and whether they move at all; some frames are enough."""
    yield from _size(body)
    yield from _upright(body)
    yield from _bones(body)
    yield from _still(body)
    yield from _ghosts(body)


def _size(body: Body) -> Iterator[Finding]:
    """Trunk and longer leg, of somebody who is seen as a whole."""
    clip, marks, (low, high) = body.clip, body.marks, BODY_M
    if not (marks.hips and marks.shoulders and marks.legs):
        return
    joints = {joint for leg in marks.legs for joint in (leg.upper, leg.hinge, leg.lower)}
    seen = body.all_seen(*marks.trunk, *joints)
    legs = [
        length(body.between(leg.upper, leg.hinge)) + length(body.between(leg.hinge, leg.lower)) for leg in marks.legs
    ]
    sizes = length(body.up) + np.maximum.reduce(legs)
    for person in range(clip.num_persons):
        # A limb that points at a 2D camera looks short, never long.
        size = quantile(sizes[person][seen[person]], 0.9)
        if size == 0 or low <= size <= high:
            continue
        wrong = not low / _WRONG_UNIT <= size <= high * _WRONG_UNIT
        text = f"{_who(body, person)}{_metres(size)} from neck to ankle, people have {low:g} to {high:g} m"
        if clip.source.space:
            text += f"; the file's space was taken as {clip.source.space}"
        yield Finding(clip.clip_id, "error" if wrong else "warning", "size", text)
        return


def _upright(body: Body) -> Iterator[Finding]:
    """The direction from the feet, or else the hips, to the head."""
    marks, clip = body.marks, body.clip
    low = marks.ankles or marks.hips
    if marks.head is None or not low or marks.head in low:
        return
    seen = body.all_seen(marks.head, *low)
    axis = body.places[:, :, marks.head][seen] - body.places[:, :, low].mean(2)[seen]
    size = length(axis)
    if not len(axis) or not size.all():
        return
    axis = axis / size[:, None]
    mean = axis.mean(0)
    in_picture = clip.topology.dims == 2  # in which there is no doubt where up is, and people do push-ups
    if (axis[:, 1] < -_LIES).mean() >= _MOST:
        text = f"the head is below the {'ankles' if marks.ankles else 'hips'} all the time"
        text += f"; they would stand with {_axis(mean)} up"
        yield Finding(clip.clip_id, "warning" if in_picture else "error", "upside-down", text)
    elif (np.abs(axis[:, 1]) < _LIES).mean() >= _MOST:
        text = "they lie all the time"
        if np.abs(mean).max() > _STANDS:
            text += f"; they would stand with {_axis(mean)} up"
        yield Finding(clip.clip_id, "note" if in_picture else "warning", "lying", text)


def _bones(body: Body) -> Iterator[Finding]:
    clip = body.clip
    if clip.topology.dims == 2 or not clip.topology.bones:
        return
    parents, children = (list(joints) for joints in zip(*clip.topology.bones, strict=True))
    seen = body.seen[:, :, parents] & body.seen[:, :, children]
    lengths = length(body.places[:, :, children] - body.places[:, :, parents])
    for person in range(clip.num_persons):
        usual, spread = _usual_and_spread(lengths[person], seen[person])
        real = usual > _SMALL_BONE_M
        if not real.any():
            continue
        varies = spread[real] / usual[real]
        if np.median(varies) > BONES_VARY:
            worst = np.flatnonzero(real)[int(np.argmax(varies))]
            name = clip.topology.joint_names[children[worst]]
            text = f"bones change by {np.median(varies):.0%} in half the frames, that to {name} by {varies.max():.0%}"
            yield Finding(clip.clip_id, "warning", "bones", _who(body, person) + text)


def _usual_and_spread(lengths: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median length of each bone `[frames, bones]` and median distance from it, metres; 0 for a bone that is not seen."""
    if seen.all():
        usual = np.median(lengths, axis=0)
        return usual, np.median(np.abs(lengths - usual), axis=0)
    usual, spread = np.zeros((2, lengths.shape[1]))
    for bone in np.flatnonzero(seen.any(0)):
        known = lengths[seen[:, bone], bone]
        usual[bone] = np.median(known)
        spread[bone] = np.median(np.abs(known - usual[bone]))
    return usual, spread


def _still(body: Body) -> Iterator[Finding]:
    """People who do not move at all; beside somebody who does, a ghost."""
    clip = body.clip
    if clip.duration_s < STILL_S:
        return
    for person in range(clip.num_persons):
        present = body.present[person]
        seconds = float(present.mean()) * clip.duration_s
        if seconds < STILL_S:
            continue
        seen = body.seen[person][present].all(0)
        if not seen.any():
            continue
        places = body.places[person][present][:, seen]
        moves = float((places.max(0) - places.min(0)).max())
        if moves <= STILL_M:
            kind = "ghost" if clip.num_persons > 1 else "motionless"
            text = f"no joint moves by more than {moves * 1000:.1f} mm in {seconds:.1f} s"
            yield Finding(clip.clip_id, "warning", kind, _who(body, person) + text)


def _ghosts(body: Body) -> Iterator[Finding]:
    """Persons beside others whose trunk no person has: a Kinect takes chairs and bags for people."""
    marks, clip = body.marks, body.clip
    if clip.num_persons < 2 or not (marks.shoulders and marks.hips) or clip.topology.dims == 2:
        return
    trunk = length(body.up)
    seen = body.all_seen(*marks.trunk)
    sizes = [
        float(np.median(trunk[person][seen[person]])) if seen[person].any() else 0.0 for person in range(len(seen))
    ]
    largest = max(sizes)
    for person, size in enumerate(sizes):
        if 0 < size < largest / 2:
            text = f"the trunk is {size:.2f} m long, that of the other person {largest:.2f} m"
            yield Finding(clip.clip_id, "warning", "ghost", _who(body, person) + text)


def _who(body: Body, person: int) -> str:
    return f"person {person + 1}: " if body.clip.num_persons > 1 else ""


def _axis(direction: np.ndarray) -> str:
    """The axis nearest to a direction, such as "-z"."""
    axis = int(np.argmax(np.abs(direction)))
    return ("-" if direction[axis] < 0 else "+") + "xyz"[axis]


def _metres(value: float) -> str:
    return f"{value:.3g} m" if value >= 0.1 else f"{value * 1000:.3g} mm"
