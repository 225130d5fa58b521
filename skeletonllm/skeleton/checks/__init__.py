"""Suspicious things about clips, measured: is it a body, upright, not mirrored, moving as bodies do, and all there?

`check` looks at one clip. A `SetCheck` is shown clip after clip and finds what only several can tell: copies, and a whole
set that is mirrored. Every threshold is a named constant beside its check, with the measurement that it comes from.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from skeletonllm.skeleton.checks.finding import LEVELS, REMEDIES, Finding, Level
from skeletonllm.skeleton.checks.landmarks import Body
from skeletonllm.skeleton.checks.motion import check_motion
from skeletonllm.skeleton.checks.presence import check_presence
from skeletonllm.skeleton.checks.shape import check_shape
from skeletonllm.skeleton.checks.sides import MIRRORED_SET, Sides, check_sides, measure_sides
from skeletonllm.skeleton.clip import Clip

__all__ = ["LEVELS", "REMEDIES", "Finding", "Level", "SetCheck", "Sides", "check", "sides_of"]

# So many recordings of one kind tell together what one cannot.
_FEW = 2
# The shape of a body does not change: so many frames, spread over the clip, show it.
_ENOUGH_FRAMES = 64


def check(clip: Clip) -> list[Finding]:
    """What is suspicious about a clip, the worst first."""
    return _look(clip)[0]


def sides_of(clip: Clip) -> Sides | None:
    """How the shape of the bodies agrees with the names left and right; None where nothing can be said."""
    return measure_sides(_some_frames(clip))


def _look(clip: Clip) -> tuple[list[Finding], Sides | None]:
    body, some = Body.of(clip), _some_frames(clip)
    # Far numbers may overflow in squares; what they are is told by the size.
    with np.errstate(over="ignore", invalid="ignore"):
        sides = measure_sides(some)
        found = [*check_shape(some), *check_sides(some, sides), *check_motion(body), *check_presence(body)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level)), sides


def _some_frames(clip: Clip) -> Body:
    return Body.of(clip, max(1, clip.num_frames // _ENOUGH_FRAMES))


@dataclass
class SetCheck:
    """What only several clips tell: copies of one clip, and a kind of recording that is mirrored as a whole."""

    _first: dict[bytes, str] = field(default_factory=dict)
    _scores: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _mirrored: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def check(self, clip: Clip, kind: str) -> list[Finding]:
        """What is suspicious about one more clip, the worst first; also whether it is a copy of an earlier one.

        Args:
            clip: the clip.
            kind: what makes it comparable to others, such as format and topology.
        """
        found, sides = _look(clip)
        if sides is not None:
            self._scores[kind].append(sides.score)
            self._mirrored[kind] += sides.mirrored
        content = hashlib.blake2b(np.ascontiguousarray(clip.positions).data, digest_size=16)
        content.update(np.array(clip.positions.shape).tobytes())
        first = self._first.get(content.digest())
        if first is None:
            self._first[content.digest()] = clip.clip_id
        else:
            found.append(Finding(clip.clip_id, "warning", "duplicate", f"the same positions as clip {first}"))
        return sorted(found, key=lambda finding: LEVELS.index(finding.level))

    def findings(self) -> list[Finding]:
        """What all clips together show; call it after the last one."""
        found = []
        for kind, scores in self._scores.items():
            mean = float(np.mean(scores))
            if len(scores) >= _FEW and mean <= MIRRORED_SET and self._mirrored[kind] < len(scores):
                text = (
                    f"left and right are exchanged: of {len(scores)} clips the toes, noses, forearms and knees point "
                    f"backwards on average ({mean:+.2f}, true recordings have +0.3 and more)"
                )
                found.append(Finding(kind, "error", "mirrored", text))
        return found
