"""From what a performer should do to a pose of the figure: paths over time, rounded, with idle movement on top.

Paths are written for a leading side (a left-handed performer mirrors them) as (outward, up, forward): hands in arm
lengths from the shoulder, feet and pelvis in leg lengths from where they stand, angles in radians.
"""

from dataclasses import dataclass, field

import numpy as np

from skeletonllm.skeleton.figure import SIDE_SIGN, Body, Pose

_SMOOTHING_S = 0.05  # standard deviation; rounds the corners between the parts of a path


@dataclass(frozen=True)
class Style:
    """How one performer moves, in every clip."""

    body: Body
    side: str
    tempo: float  # more is slower
    vigour: float  # 1 is average amplitude
    posture: float  # forward bend when standing, radians
    arms_out: float  # where the hands hang, arm lengths outward
    arms_bent: float  # how far they hang forward and up
    stance: float  # how far apart the feet stand, leg lengths on each side
    sway: float  # amplitude of small idle movement, 1 is average


@dataclass
class Act:
    """One performance while it is put together: the time axis, the performer, and helpers to draw paths.

    Args:
        seconds: time of each frame.
        start_s: the action begins; before and after, the performer stands idle.
        end_s: the action ends.
    """

    seconds: np.ndarray
    start_s: float
    end_s: float
    style: Style
    rng: np.random.Generator
    tracks: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def share(self) -> np.ndarray:
        """0 before the action, 1 after it."""
        return np.clip((self.seconds - self.start_s) / (self.end_s - self.start_s), 0, 1)

    def home(self, track: str) -> np.ndarray:
        """Where a track rests while the performer stands idle."""
        if track.endswith("_hand"):
            bent = self.style.arms_bent
            return np.array((self.style.arms_out, -0.97 + 0.5 * bent, 0.06 + bent))
        if track.endswith("_elbow"):
            return np.array((0.35, -0.6, -0.7))
        if track.endswith("_foot"):
            return np.array((self.style.stance, 0.0, 0.0))
        if track == "pelvis":
            return np.zeros(3)
        return np.array((self.style.posture,) if track == "bend" else (0.0,))

    def path(self, track: str, *keys: tuple[float | int, object], exact: bool = False) -> np.ndarray:
        """Draw a track through `(share of the action, value)`; None is home. Unless exact, vigour scales the way."""
        home = self.home(track)
        times, values = [0.0], [home]
        for time, value in keys:
            aim = home if value is None else np.atleast_1d(np.asarray(value, float))
            times.append(time)
            values.append(aim if exact else home + self.style.vigour * (aim - home))
        drawn = _ease(self.share, np.array(times), np.array(values))
        self.tracks[track] = drawn
        return drawn

    def window(self, start: float, end: float) -> np.ndarray:
        """1 between two shares of the action, with soft edges: `[frames, 1]`."""
        soft = 0.07
        rise = np.clip((self.share - start) / soft, 0, 1) * np.clip((end - self.share) / soft, 0, 1)
        return rise[:, None]

    def beat(self, hertz: float) -> np.ndarray:
        """A sine of the performer's tempo that starts with the action: `[frames, 1]`."""
        return np.sin(2 * np.pi * hertz / self.style.tempo * (self.seconds - self.start_s))[:, None]

    def between(self, low: float, high: float) -> float:
        """A random choice."""
        return float(self.rng.uniform(low, high))

    def get(self, track: str) -> np.ndarray:
        """The track as drawn, or home."""
        return self.tracks.get(track, np.broadcast_to(self.home(track), (len(self.seconds), len(self.home(track)))))


def _ease(at: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Minimum-jerk steps between key values (Flash and Hogan, 1985): `[frames, width]`."""
    after = np.clip(np.searchsorted(times, at, side="right"), 1, len(times) - 1)
    span = np.maximum(times[after] - times[after - 1], 1e-6)
    x = np.clip((at - times[after - 1]) / span, 0, 1)[:, None]
    step = x**3 * (10 - 15 * x + 6 * x**2)
    return values[after - 1] + step * (values[after] - values[after - 1])


def to_pose(act: Act) -> Pose:
    """The drawn paths as a pose in metres and true sides, rounded in time, with small idle movement on top."""
    style = act.style
    arm, leg, sign = style.body.arm_m, style.body.leg_m, SIDE_SIGN[style.side]
    track = {name: _smooth(act.get(name), act.seconds) + _idle(act, name) for name in _TRACKS}
    sides = ("lead", "other") if style.side == "left" else ("other", "lead")

    def both(word: str, scale: float) -> np.ndarray:
        outward = np.array([[1.0, 1, 1], [-1.0, 1, 1]])
        return np.stack([track[f"{side}_{word}"] for side in sides], axis=1) * outward * scale

    # A standing ankle is already `hip width` outward; the stance is what stands further out.
    ankles = both("foot", leg)
    return Pose(
        pelvis=track["pelvis"] * (sign, 1, 1) * leg,
        yaw=track["turn"][:, 0],
        lean=track["lean"][:, 0],
        bend=track["bend"][:, 0],
        twist=track["twist"][:, 0] * sign,
        tilt=track["tilt"][:, 0] * -sign,
        nod=track["nod"][:, 0],
        hands=both("hand", arm),
        elbows=both("elbow", 1.0),
        ankles=ankles,
        toes=np.stack([track[f"{side}_toe"][:, 0] for side in sides], axis=1),
    )


_TRACKS = (
    *("lead_hand", "other_hand", "lead_elbow", "other_elbow", "lead_foot", "other_foot", "lead_toe", "other_toe"),
    *("pelvis", "turn", "lean", "bend", "twist", "tilt", "nod"),
)

_IDLE = {"hand": 0.025, "elbow": 0.03, "foot": 0.0, "toe": 0.0, "pelvis": 0.012, "turn": 0.02, "nod": 0.05}


def _idle(act: Act, track: str) -> np.ndarray:
    """A slow random sway: two sines of random phase per axis, below 1 Hz."""
    size = _IDLE.get(track.rpartition("_")[2], 0.015) * act.style.sway
    width = len(act.home(track))
    hertz = act.rng.uniform(0.15, 0.9, (2, width))
    phase = act.rng.uniform(0, 2 * np.pi, (2, width))
    return size * np.sin(2 * np.pi * hertz * act.seconds[:, None, None] + phase).sum(1)


def _smooth(values: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """A Gaussian mean in time; the ends are held."""
    if len(seconds) < 3:
        return values
    sigma = _SMOOTHING_S / (seconds[1] - seconds[0])
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, axis], kernel, mode="valid") for axis in range(values.shape[1])], axis=1)
