"""What is too small to be a movement: a floor that a person would set, and above it what the clip's own noise asks for."""

from dataclasses import dataclass

from skeletonllm.reasoning.signals import Signals

ABOVE_HEAD = 0.04
AT_HEAD = 0.24  # hand to head: the wrist of a hand at mouth or ear is a hand's length away
MIN_HOLD_S = 0.45


@dataclass(frozen=True)
class Tolerances:
    """A change smaller than this is no event: body sizes, and degrees for angles.

    Args:
        length: of hands, feet and gaps.
        pelvis: of the body in the room.
        angle: of elbows and knees.
        bend: of the trunk.
        heading: of the body about the upright axis.
        swing: of one way of a movement to and fro: fine enough for a waving hand, and noise does not turn back so often
            in a row.
    """

    length: float
    pelvis: float
    angle: float
    bend: float
    heading: float
    swing: float


def tolerances(signals: Signals) -> Tolerances:
    """The tolerances of a clip: motion capture shows smaller movements than a sensor that jitters.

    The factors make a Kinect's usual noise (0.004 body sizes from frame to frame) ask for three times what its slow
    drift, of about the same size, does to a hand.
    """
    noise = min(signals.jitter, 0.015)  # more than that is a movement too fast for the frame rate
    return Tolerances(
        length=0.10 + 6 * noise,
        pelvis=0.07 + 5 * noise,
        angle=28 + 1800 * noise,
        bend=18 + 1000 * noise,
        heading=35 + 2000 * noise,
        swing=0.05 + 4 * noise,
    )
