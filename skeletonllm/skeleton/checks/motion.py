"""Whether the movement is one: jumps, joints that fly off, persons exchanged, and a frame rate that gravity contradicts."""

import functools
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from skeletonllm.skeleton.checks.finding import Finding
from skeletonllm.skeleton.checks.landmarks import Body, length, quantile

# The fastest sprinter's trunk makes 12.4 m/s; of 3,100 recordings only those whose track is torn are faster.
TRUNK_MPS, TRUNK_M = 12.5, 0.3
# A thrower's hand reaches 25 m/s; half a metre there and back between three frames is no movement.
JOINT_MPS, JOINT_M = 25.0, 0.5
MANY_SPIKES = 0.01
# Two tracks that meet half a metre nearer crosswise than each to itself have been exchanged.
SWAP_M = 0.5
GRAVITY = 9.81
_WINDOW_S = 0.2  # of the fit that an acceleration comes from: shorter ones see noise, longer ones miss a jump
# Nobody falls faster than gravity. Clean recordings (mocap of jumps and cartwheels) reach 1.2 g.
_CLEAN_G, _NOISY_G = 2.5, 3.5
# Half of the time the fastest joint of a recorded person makes less than this.
_BUSY_MPS = 6.0
_CLEAN_M = 0.0003
# Off the ground: both feet this high above where they stand.
_FLIGHT_M, _FLIGHT_S, _FLIGHT_FRAMES = 0.1, 0.25, 8
# A rate that is 1.6 to 5 times too low; further off, no movement looks like one. A flight is a parabola within a tenth.
_SLOW, _SLOWEST, _ROUGH = 1 / 1.6**2, 1 / 5.0**2, 0.1


def check_motion(body: Body) -> Iterator[Finding]:
    """Jumps, spikes, exchanged persons, and the frame rate."""
    if body.clip.num_frames < 2:
        return
    swaps = _swaps(body)
    torn = _torn(body)
    yield from _tell_swaps(body, swaps)
    yield from _tell_jumps(body, torn & ~swaps)
    yield from _spikes(body, torn)
    yield from _rate(body, torn)


def _trunk(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """The middle of the trunk (of all joints where there are no shoulders and hips), and where it was seen."""
    trunk = body.marks.trunk or tuple(range(body.clip.topology.num_joints))
    return body.places[:, :, trunk].mean(2), body.all_seen(*trunk)


def _torn(body: Body) -> np.ndarray:
    """Between which frames a trunk is faster than any person's, `[persons, frames - 1]`."""
    middle, seen = _trunk(body)
    far = length(np.diff(middle, axis=1))
    return (far > TRUNK_M) & (far * body.clip.fps > TRUNK_MPS) & seen[:, 1:] & seen[:, :-1]


def _tell_jumps(body: Body, torn: np.ndarray) -> Iterator[Finding]:
    if not torn.any():
        return
    middle, _ = _trunk(body)
    far = np.where(torn, length(np.diff(middle, axis=1)), 0)
    person, frame = np.unravel_index(int(far.argmax()), far.shape)
    times = int(torn.sum())
    text = (
        f"the body jumps {_times(times)}, by {far.max():.2f} m after frame {frame} "
        f"({far.max() * body.clip.fps:.0f} m/s)" + (f", person {person + 1}" if body.clip.num_persons > 1 else "")
    )
    yield Finding(body.clip.clip_id, "warning", "jump", text)


def _spikes(body: Body, torn: np.ndarray) -> Iterator[Finding]:
    """Joints that leave the body for one frame and come back."""
    clip = body.clip
    if clip.num_frames < 3:
        return
    fast = (body.steps > max(JOINT_M, JOINT_MPS / clip.fps)) & ~torn[..., None]
    spikes = fast[:, :-1] & fast[:, 1:]
    if not spikes.any():
        return
    back = length(body.places[:, 2:] - body.places[:, :-2])
    spikes &= 2 * back < np.minimum(body.steps[:, :-1], body.steps[:, 1:])
    if not spikes.any():
        return
    per_joint = spikes.sum((0, 1))
    worst = int(per_joint.argmax())
    share = float(spikes.any((0, 2)).mean())
    text = (
        f"joints fly off and back in {spikes.any((0, 2)).sum()} frames, {clip.topology.joint_names[worst]} "
        f"{_times(int(per_joint[worst]))}, by up to {np.where(spikes, body.steps[:, :-1], 0).max():.2f} m"
    )
    yield Finding(clip.clip_id, "warning" if share >= MANY_SPIKES else "note", "spikes", text)


def _swaps(body: Body) -> np.ndarray:
    """Between which frames a person goes on where another one was, `[persons, frames - 1]`."""
    swapped = np.zeros((body.clip.num_persons, body.clip.num_frames - 1), bool)
    if body.clip.num_persons < 2:
        return swapped
    middle, seen = _trunk(body)
    for one, other in combinations(range(body.clip.num_persons), 2):
        a, b = middle[one], middle[other]
        stay = length(a[1:] - a[:-1]) + length(b[1:] - b[:-1])
        cross = length(a[1:] - b[:-1]) + length(b[1:] - a[:-1])
        both = seen[one] & seen[other]
        found = both[1:] & both[:-1] & (stay - cross > SWAP_M) & (2 * cross < stay)
        swapped[one] |= found
        swapped[other] |= found
    return swapped


def _tell_swaps(body: Body, swapped: np.ndarray) -> Iterator[Finding]:
    if swapped.any():
        frames = np.flatnonzero(swapped.any(0))
        shown = ", ".join(str(frame) for frame in frames[:5]) + (", ..." if len(frames) > 5 else "")
        text = f"two persons exchange their places {_times(len(frames))}: after frame {shown}"
        yield Finding(body.clip.clip_id, "warning", "swap", text)


def _rate(body: Body, torn: np.ndarray) -> Iterator[Finding]:
    """Frame rates that gravity contradicts: a body that falls too fast, or one that hangs in the air."""
    clip = body.clip
    if clip.topology.dims == 2 or body.marks.masses is None:
        return
    fall, noise = _fastest_fall(body, torn)
    clean = noise < _CLEAN_M
    busy = quantile(body.steps.max(-1)[body.present[:, 1:]], 0.5) * clip.fps
    if fall > GRAVITY * (_CLEAN_G if clean else _NOISY_G) and (clean or busy > _BUSY_MPS):
        factor = np.sqrt(fall / GRAVITY)
        text = (
            f"the body falls with {fall:.0f} m/s², gravity gives {GRAVITY}; at about {clip.fps / factor:.2g} frames per "
            f"second, not {clip.fps:g}, it would be right"
        )
        yield Finding(clip.clip_id, "warning", "fps", text)
    slow = _slow_flight(body)
    if slow is not None:
        seconds, fall = slow
        factor = np.sqrt(GRAVITY / fall)
        text = (
            f"both feet are off the ground for {seconds:.1f} s while the body falls with {fall:.1f} m/s², gravity gives "
            f"{GRAVITY}; at about {clip.fps * factor:.2g} frames per second, not {clip.fps:g}, it would be right"
        )
        yield Finding(clip.clip_id, "warning", "fps", text)


def _centre(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """The height of the centre of mass, metres, and where it is known, `[persons, frames]`."""
    masses = np.array(body.marks.masses, np.float32)
    joints = np.flatnonzero(masses)
    return body.places[:, :, joints, 1] @ masses[joints], body.all_seen(*joints.tolist())


@functools.lru_cache(64)
def _parabola(fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Of a window at this rate: powers of time `[frames, 3]`, and what height, speed and acceleration are `[3, frames]`."""
    frames = max(5, round(_WINDOW_S * fps) | 1)
    times = (np.arange(frames) - frames // 2) / fps
    powers = np.stack((np.ones(frames), times, times**2 / 2), axis=1)
    return powers, np.linalg.pinv(powers)


def _fastest_fall(body: Body, torn: np.ndarray) -> tuple[float, float]:
    """The largest downward acceleration that lasts for two windows, m/s², and the noise of the heights, m."""
    powers, fit = _parabola(body.clip.fps)
    frames = len(powers)
    if body.clip.num_frames < frames + 1:
        return 0.0, 0.0
    heights, known = _centre(body)
    known[:, 1:] &= ~torn
    windows = np.lib.stride_tricks.sliding_window_view(heights, frames, axis=1)
    whole = np.asarray(np.lib.stride_tricks.sliding_window_view(known, frames, axis=1).all(-1))
    falls = np.where(whole, -(windows @ fit[2]), 0)
    lasting = np.minimum(falls[:, 1:], falls[:, :-1])
    # The fourth difference of a movement is next to nothing, that of noise is 8.4 times the noise.
    rough = np.abs(np.diff(heights, 4))[:, : whole.shape[1]][whole]
    return float(lasting.max()), quantile(rough, 0.5) / (8.4 * 0.67)


def _slow_flight(body: Body) -> tuple[float, float] | None:
    """The longest time with both feet off the ground, and the acceleration then, if it is a jump in slow motion."""
    clip, feet = body.clip, body.marks.ankles
    heights, known = _centre(body)
    lowest = body.places[:, :, feet, 1].min(-1)
    shortest = max(_FLIGHT_FRAMES, _FLIGHT_S * clip.fps)
    for person in range(clip.num_persons):
        seen = known[person]
        ground = quantile(lowest[person][seen], 0.1)
        start, end = _longest(seen & (lowest[person] > ground + _FLIGHT_M))
        if end - start < shortest:
            continue
        path = heights[person, start:end]
        times = np.arange(end - start) / clip.fps
        powers = np.stack((np.ones(end - start), times, times**2 / 2), axis=1)
        fit = np.linalg.lstsq(powers, path, rcond=None)[0]
        rise = path.max() - max(path[0], path[-1])
        # Feet on a chair or a step do not fall; a jump goes up, comes down and is a parabola.
        rough = np.abs(path - powers @ fit).max()
        if rise > _FLIGHT_M and rough < _ROUGH * rise and _SLOWEST < -fit[2] / GRAVITY < _SLOW:
            return (end - start) / clip.fps, float(-fit[2])
    return None


def _longest(flags: np.ndarray) -> tuple[int, int]:
    """Start and end of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    if not len(edges):
        return 0, 0
    runs = edges[1::2] - edges[::2]
    place = int(runs.argmax())
    return int(edges[2 * place]), int(edges[2 * place + 1])


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
