"""One suspicious thing about a clip, and what to do about each kind."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

# Every kind that a check can find, with what to do; an error message says that itself.
REMEDIES = {
    "unreadable": "",
    "damaged": "",
    "size": "say the unit with --unit",
    "upside-down": "say the axis that points up with --up",
    "lying": "say the axis that points up with --up, unless they do lie",
    "mirrored": "negate x in the files, or swap the joints' left and right in the topology",
    "fps": "say the frame rate with --fps",
    "frozen": "cut the still part off, or leave the clip out",
    "repeated-frames": "say the rate of the frames that differ with --fps, after leaving out the copies",
    "jump": "look at these frames; cut the clip there or leave it out",
    "spikes": "look at these joints; smooth them or mark them as not seen",
    "bones": "look at the clip; leave it out if the body is not one",
    "swap": "give the two persons their own tracks back",
    "ghost": "leave that person out",
    "motionless": "leave the clip out",
    "unseen": "nothing, if so much is expected; the renderer fades joints that were not seen",
    "lost-frames": "nothing, if so much is expected; else cut the clip there",
    "zeros": "mark joints at (0, 0, 0) as not seen, by confidence 0",
    "centred": "give the recording before it was centred, if where people are matters",
    "short": "leave the clip out, or record at a higher rate",
    "persons": "nothing, if people come and go; else look at the tracks",
    "duplicate": "remove one of the two",
    "no-action": "add a labels.csv (clip_id,action), class folders or an actions.txt",
}


@dataclass(frozen=True)
class Finding:
    """Something suspicious.

    Args:
        clip_id: of the clip, or of the file where no clip could be read.
        level: `error` (training on it would teach something wrong), `warning` (look at it) or `note` (good to know).
        kind: a key of `REMEDIES`.
        text: what was measured, with numbers.
    """

    clip_id: str
    level: Level
    kind: str
    text: str

    @property
    def remedy(self) -> str:
        """What to do."""
        return REMEDIES[self.kind]
