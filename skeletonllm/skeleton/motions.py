"""What the simulated performers can do: each action as paths of hands, feet, pelvis and trunk (see `choreography`)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skeletonllm.skeleton.choreography import Act


def _wave(act: Act) -> None:
    high = (act.between(0.25, 0.5), act.between(0.5, 0.78), 0.2)
    act.path("lead_hand", (0.25, high), (0.8, high), (1, None))
    swing = act.between(0.2, 0.3) * act.style.vigour
    act.tracks["lead_hand"] = act.get("lead_hand") + act.window(0.2, 0.85) * act.beat(1.9) * (swing, -0.04, 0)
    act.path("lead_elbow", (0.25, (0.9, -0.7, -0.1)), (0.8, (0.9, -0.7, -0.1)), (1, None), exact=True)


def _raise_hand(act: Act) -> None:
    high = (act.between(0.1, 0.35), act.between(0.6, 0.93), 0.15)
    act.path("lead_hand", (act.between(0.25, 0.35), high), (0.75, high), (1, None))
    act.path("lead_elbow", (0.3, (0.9, -0.6, -0.1)), (0.75, (0.9, -0.6, -0.1)), (1, None), exact=True)


def _sit_down(act: Act) -> None:
    low = act.between(0.44, 0.52)
    act.path("pelvis", (0.1, None), (0.7, (0, -low, -0.42)), (1, (0, -low, -0.42)), exact=True)
    act.path("bend", (0.35, 0.55), (0.65, 0.35), (1, 0.08))
    act.path("lean", (0.35, 0.35), (0.7, 0.1), (1, -0.05))
    for hand in ("lead_hand", "other_hand"):
        act.path(hand, (0.4, (0.1, -0.75, 0.35)), (0.75, (0.05, -0.72, 0.5)), (1, (0.05, -0.72, 0.5)), exact=True)


def _squat(act: Act) -> None:
    low = act.between(0.4, 0.52)
    act.path("pelvis", (0.45, (0, -low, -0.2)), (0.55, (0, -low, -0.2)), (1, None), exact=True)
    act.path("bend", (0.45, 0.45), (0.55, 0.45), (1, None))
    act.path("lean", (0.45, 0.35), (0.55, 0.35), (1, None))
    ahead = (0.0, act.between(-0.35, 0.0), act.between(0.7, 0.9))
    for hand in ("lead_hand", "other_hand"):
        act.path(hand, (0.4, ahead), (0.6, ahead), (1, None))


def _kick(act: Act) -> None:
    stand = act.style.stance
    high = act.between(0.35, 0.55)
    act.path(
        "lead_foot", (0.3, (stand, 0.2, -0.35)), (0.52, (0.02, high, 0.8)), (0.62, (0.02, high * 0.8, 0.7)), (1, None)
    )
    act.path("lead_toe", (0.3, 0.6), (0.52, -0.2), (1, None))
    act.path("pelvis", (0.25, (-0.09, 0, 0)), (0.7, (-0.09, 0, 0.03)), (1, None))
    act.path("bend", (0.3, 0.12), (0.52, -0.15), (1, None))
    act.path("lean", (0.52, -0.15), (1, None))
    act.path("other_hand", (0.52, (0.25, -0.8, 0.4)), (1, None))
    act.path("lead_hand", (0.52, (0.35, -0.8, -0.25)), (1, None))


def _step_up(act: Act) -> None:
    stand, high, ahead = act.style.stance, act.between(0.25, 0.34), 0.5
    top = (stand, high, ahead)
    act.path("lead_foot", (0.2, (stand, high + 0.12, 0.3)), (0.35, top), (1, top), exact=True)
    act.path("other_foot", (0.55, None), (0.72, (stand, high + 0.1, 0.3)), (0.88, top), (1, top), exact=True)
    act.path(
        "pelvis",
        (0.2, (-0.05, 0, 0)),
        (0.38, (0.02, 0.02, 0.2)),
        (0.7, (0.04, high - 0.03, 0.46)),
        (0.9, (0, high, ahead)),
        (1, (0, high, ahead)),
        exact=True,
    )
    act.path("bend", (0.4, 0.35), (0.65, 0.2), (1, None))
    act.path("lead_toe", (0.2, 0.15), (0.35, 0), (1, 0))
    act.path("other_toe", (0.55, 0.5), (0.72, 0.35), (0.88, 0), (1, 0))
    act.path("other_hand", (0.35, (0.2, -0.88, 0.3)), (0.7, (0.2, -0.9, -0.2)), (1, None))
    act.path("lead_hand", (0.35, (0.2, -0.9, -0.2)), (0.7, (0.2, -0.88, 0.3)), (1, None))


def _throw(act: Act) -> None:
    back = (act.between(0.25, 0.45), act.between(0.35, 0.6), -0.4)
    aside = (0.5, -0.45, 0.25)
    act.path(
        "lead_hand",
        (0.18, aside),
        (0.38, back),
        (0.46, back),
        (0.58, (0.05, 0.55, 0.75)),
        (0.68, (-0.2, -0.3, 0.85)),
        (1, None),
    )
    act.path(
        "lead_elbow", (0.2, (0.6, -0.9, -0.3)), (0.46, (0.7, -0.7, -0.2)), (0.6, (0.9, -0.5, 0)), (1, None), exact=True
    )
    act.path("other_hand", (0.38, (0.1, -0.2, 0.75)), (0.6, (0.2, -0.7, 0.1)), (1, None))
    act.path("twist", (0.4, 0.6), (0.62, -0.35), (1, None))
    act.path("bend", (0.4, -0.1), (0.65, 0.3), (1, None))
    if act.between(0.0, 1.0) < 0.6:
        act.path(
            "other_foot",
            (0.25, None),
            (0.4, (act.style.stance, 0.12, 0.2)),
            (0.52, (act.style.stance, 0, 0.38)),
            (1, (act.style.stance, 0, 0.38)),
        )
        act.path("pelvis", (0.38, (0.03, 0, 0)), (0.6, (0, -0.04, 0.22)), (1, (0, -0.02, 0.2)))


def _punch(act: Act) -> None:
    guard = (-0.12, -0.12, 0.45)
    hit = (-0.15, act.between(-0.05, 0.12), 0.98)
    blows = ((0.28, guard), (0.38, hit), (0.47, hit), (0.57, guard))
    if act.between(0.0, 1.0) < 0.5:
        blows = (*blows, (0.6, guard), (0.69, hit), (0.77, hit), (0.87, guard))
    act.path("lead_hand", (0.2, guard), *blows, (1, None))
    act.path("other_hand", (0.2, (-0.1, -0.1, 0.5)), (0.8, (-0.1, -0.1, 0.5)), (1, None))
    for elbow in ("lead_elbow", "other_elbow"):
        act.path(elbow, (0.2, (0.5, -0.9, -0.1)), (0.8, (0.5, -0.9, -0.1)), (1, None), exact=True)
    turns = [(time, -0.4 if value is hit else 0.15) for time, value in blows]
    act.path("twist", (0.2, 0.15), *turns, (1, None))


def _pick_up(act: Act) -> None:
    knees = act.between(0.28, 0.42)
    act.path("pelvis", (0.42, (0, -knees, -0.14)), (0.52, (0, -knees, -0.14)), (0.9, None), (1, None), exact=True)
    act.path("bend", (0.42, 0.95), (0.52, 0.95), (0.9, None), (1, None), exact=True)
    act.path("lean", (0.42, 0.75), (0.52, 0.75), (0.9, None), (1, None), exact=True)
    act.path("tilt", (0.42, 0.12), (0.52, 0.12), (0.9, None))
    held = (-0.05, -0.55, 0.5)
    act.path("lead_hand", (0.42, (0.0, -0.99, 0.12)), (0.52, (0.0, -0.99, 0.12)), (0.9, held), (1, held), exact=True)
    act.path("other_hand", (0.42, (0.15, -0.85, 0.0)), (0.52, (0.15, -0.85, 0.0)), (0.9, None))


def _bow(act: Act) -> None:
    deep = act.between(0.75, 1.1)
    act.path("pelvis", (0.42, (0, -0.02, -0.12)), (0.55, (0, -0.02, -0.12)), (1, None))
    act.path("bend", (0.42, 0.5 * deep), (0.55, 0.5 * deep), (1, None))
    act.path("lean", (0.42, 0.6 * deep), (0.55, 0.6 * deep), (1, None))
    act.path("nod", (0.42, 0.35), (0.55, 0.35), (1, None))
    for hand in ("lead_hand", "other_hand"):
        act.path(hand, (0.42, (0.06, -0.95, -0.15)), (0.55, (0.06, -0.95, -0.15)), (1, None))


def _clap(act: Act) -> None:
    # 0.115 of the height to each shoulder, 0.332 to the wrist: hands meet at this many arm lengths inward.
    meet = -0.3 * act.style.body.width_scale / act.style.body.arm_scale
    swing = act.between(0.2, 0.34) * act.style.vigour
    ready = (meet + swing / 2, act.between(-0.35, -0.05), 0.6)
    apart = act.window(0.18, 0.85) * act.beat(2.0) * (swing / 2, 0, 0)
    for side in ("lead", "other"):
        act.path(f"{side}_hand", (0.22, ready), (0.82, ready), (1, None), exact=True)
        act.tracks[f"{side}_hand"] = act.get(f"{side}_hand") + apart
        act.path(f"{side}_elbow", (0.2, (0.7, -0.8, -0.2)), (0.8, (0.7, -0.8, -0.2)), (1, None), exact=True)


def _jump(act: Act) -> None:
    high, low = act.between(0.3, 0.5) * act.style.vigour, act.between(0.22, 0.32)
    act.path(
        "pelvis",
        (0.32, (0, -low, -0.08)),
        (0.42, (0, 0.02, 0)),
        (0.66, (0, 0.02, 0)),
        (0.78, (0, -low * 0.7, -0.05)),
        (1, None),
        exact=True,
    )
    x = np.clip((act.share - 0.42) / 0.24, 0, 1)
    flight = (4 * high * x * (1 - x))[:, None] * (0.0, 1.0, 0.0)  # a ballistic arc
    act.tracks["pelvis"] = act.get("pelvis") + flight
    for side in ("lead", "other"):
        act.tracks[f"{side}_foot"] = act.get(f"{side}_foot") + 0.92 * flight
        act.path(f"{side}_toe", (0.36, None), (0.46, 0.7), (0.62, 0.4), (0.7, 0), (1, None))
        act.path(
            f"{side}_hand", (0.32, (0.15, -0.8, -0.4)), (0.5, (0.2, 0.5, 0.65)), (0.75, (0.2, -0.8, 0.3)), (1, None)
        )
    act.path("bend", (0.32, 0.5), (0.45, 0.0), (0.78, 0.35), (1, None))
    act.path("lean", (0.32, 0.3), (0.45, 0.0), (0.78, 0.2), (1, None))


def _shake_hands(act: Act) -> None:
    body = act.style.body
    # Straight ahead of the middle of the body, and at one height for tall and small people.
    meet = (-0.115 * body.width_scale * body.height_m / body.arm_m, (1.08 - 0.8 * body.height_m) / body.arm_m, 0.62)
    act.path("lead_hand", (0.28, meet), (0.78, meet), (1, None), exact=True)
    act.tracks["lead_hand"] = act.get("lead_hand") + act.window(0.27, 0.78) * act.beat(2.2) * (0, 0.08, 0)
    act.path("bend", (0.3, 0.18), (0.78, 0.18), (1, None))
    act.path("twist", (0.3, -0.15), (0.78, -0.15), (1, None))


def _push(act: Act) -> None:
    ready, out = (-0.05, -0.2, 0.4), (-0.08, -0.12, 0.95)
    for side in ("lead", "other"):
        act.path(f"{side}_hand", (0.28, ready), (0.34, ready), (0.45, out), (0.6, out), (1, None), exact=True)
        act.path(f"{side}_elbow", (0.25, (0.7, -0.8, -0.2)), (0.6, (0.7, -0.8, -0.2)), (1, None), exact=True)
    act.path("bend", (0.3, 0.05), (0.46, 0.3), (0.6, 0.3), (1, None))
    act.path("pelvis", (0.3, (0, 0, -0.05)), (0.46, (0, -0.05, 0.2)), (0.6, (0, -0.05, 0.2)), (1, (0, 0, 0.05)))
    stand = act.style.stance
    act.path(
        "lead_foot",
        (0.28, None),
        (0.38, (stand, 0.07, 0.2)),
        (0.46, (stand, 0, 0.35)),
        (0.7, (stand, 0, 0.35)),
        (0.85, (stand, 0.05, 0.15)),
        (1, None),
    )


def _stagger(act: Act) -> None:
    """The one who is pushed: thrown back, two steps to catch the balance."""
    far = act.between(0.4, 0.6)
    stand = act.style.stance
    act.path("pelvis", (0.42, None), (0.58, (0, -0.06, -far)), (0.8, (0, 0, -far)), (1, (0, 0, -far)), exact=True)
    act.path("bend", (0.42, None), (0.5, -0.3), (0.65, 0.15), (0.85, None))
    act.path(
        "lead_foot",
        (0.42, None),
        (0.5, (stand, 0.1, -far / 2)),
        (0.58, (stand, 0, -far)),
        (1, (stand, 0, -far)),
        exact=True,
    )
    act.path(
        "other_foot",
        (0.52, None),
        (0.62, (stand, 0.1, -far / 2)),
        (0.7, (stand, 0, -far)),
        (1, (stand, 0, -far)),
        exact=True,
    )
    for hand in ("lead_hand", "other_hand"):
        act.path(hand, (0.42, None), (0.54, (0.45, -0.55, 0.45)), (0.9, None))


@dataclass(frozen=True)
class Motion:
    """One action: how it is drawn, how long it takes, and true sentences about it."""

    draw: Callable[[Act], None]
    seconds: float
    captions: tuple[str, ...]
    partner: Callable[[Act], None] | None = None
    gap: float = 0.0  # between the two persons, arm lengths of both together


MOTIONS = {
    "wave": Motion(
        _wave,
        2.3,
        (
            "a person waves with the {side} hand",
            "someone raises the {side} hand and swings it from side to side",
        ),
    ),
    "raise hand": Motion(
        _raise_hand,
        2.1,
        (
            "a person raises the {side} hand over the head and holds it there",
            "someone lifts the {side} arm up high, then lowers it",
        ),
    ),
    "sit down": Motion(
        _sit_down,
        2.0,
        (
            "a person sits down",
            "someone lowers the body backwards onto a seat and stays seated",
        ),
    ),
    "squat": Motion(
        _squat,
        2.2,
        (
            "a person squats and stands up again",
            "someone bends both knees deeply with the arms ahead and rises again",
        ),
    ),
    "kick": Motion(
        _kick,
        1.8,
        (
            "a person kicks forward with the {side} foot",
            "someone swings the {side} leg back and kicks ahead",
        ),
    ),
    "step up": Motion(
        _step_up,
        2.2,
        (
            "a person steps up onto a step, the {side} foot first",
            "someone climbs one step starting with the {side} foot",
        ),
    ),
    "throw": Motion(
        _throw,
        1.9,
        (
            "a person throws something with the {side} hand",
            "someone draws the {side} arm back over the shoulder and throws ahead",
        ),
    ),
    "punch": Motion(
        _punch,
        1.8,
        (
            "a person punches with the {side} fist",
            "someone raises both fists and strikes straight ahead with the {side} one",
        ),
    ),
    "pick up": Motion(
        _pick_up,
        2.3,
        (
            "a person picks something up from the floor with the {side} hand",
            "someone bends down, reaches the floor with the {side} hand and lifts something to the waist",
        ),
    ),
    "bow": Motion(
        _bow,
        2.2,
        (
            "a person bows",
            "someone bends the upper body forward with hanging arms and straightens again",
        ),
    ),
    "clap": Motion(
        _clap,
        2.1,
        (
            "a person claps the hands",
            "someone brings both hands together in front of the chest again and again",
        ),
    ),
    "jump": Motion(
        _jump,
        1.9,
        (
            "a person jumps up",
            "someone bends the knees, leaps off the floor with both feet and lands",
        ),
    ),
    "handshake": Motion(
        _shake_hands,
        2.4,
        (
            "a person shakes hands with the {side} hand",
            "someone holds out the {side} hand ahead and shakes it up and down",
        ),
        partner=_shake_hands,
        gap=0.68,
    ),
    "push": Motion(
        _push,
        2.0,
        (
            "a person pushes somebody away with both hands",
            "someone thrusts both hands forward at chest height while stepping ahead",
        ),
        partner=_stagger,
        gap=0.55,
    ),
}
