"""Simulated performers: who they are, and one performance of one of them by the articulated figure."""

from dataclasses import replace

import numpy as np

from skeletonllm.errors import ConfigError
from skeletonllm.skeleton.choreography import Act, Style, to_pose
from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.figure import FIGURE, Body, pose_figure
from skeletonllm.skeleton.kinematics import quaternion_product, rotate_y
from skeletonllm.skeleton.motions import MOTIONS

ACTIONS: tuple[str, ...] = tuple(MOTIONS)
TWO_PERSONS: tuple[str, ...] = tuple(name for name, motion in MOTIONS.items() if motion.partner)
CONFUSABLE: tuple[tuple[str, str], ...] = (
    ("wave", "raise hand"),
    ("sit down", "squat"),
    ("kick", "step up"),
    ("throw", "punch"),
    ("pick up", "bow"),
    ("jump", "squat"),
    ("handshake", "push"),
)


def performer_name(performer: int) -> str:
    """`P001` for the first one (number 0)."""
    return f"P{performer + 1:03d}"


def captions_of(action: str, performer: int, seed: int) -> tuple[str, ...]:
    """True sentences about this performer doing this action."""
    return tuple(text.format(side=style_of(performer, seed).side) for text in MOTIONS[action].captions)


def style_of(performer: int, seed: int) -> Style:
    """The body and habits of one performer; every fourth one is left-handed."""
    rng = np.random.default_rng((seed, 1, performer))
    body = Body(
        height_m=float(rng.uniform(1.52, 1.92)),
        arm_scale=float(rng.uniform(0.94, 1.06)),
        leg_scale=float(rng.uniform(0.94, 1.06)),
        trunk_scale=float(rng.uniform(0.94, 1.06)),
        width_scale=float(rng.uniform(0.9, 1.12)),
    )
    return Style(
        body=body,
        side="left" if performer % 4 == 2 else "right",
        tempo=float(rng.uniform(0.82, 1.2)),
        vigour=float(rng.uniform(0.88, 1.06)),
        posture=float(rng.uniform(-0.02, 0.12)),
        arms_out=float(rng.uniform(0.08, 0.2)),
        arms_bent=float(rng.uniform(0.0, 0.14)),
        stance=float(rng.uniform(0.0, 0.09)),
        sway=float(rng.uniform(0.5, 1.4)),
    )


def perform(action: str, performer: int, repetition: int, seed: int, fps: float = 60.0) -> Clip:
    """One performance of the articulated figure, clean, as the figure's own topology has it.

    The (first) performer stands above the origin and faces +z. Equal arguments give equal clips; another frame rate
    samples the same movement.

    Args:
        action: one of `ACTIONS`.
        performer: from 0; decides body, habits and side.
        repetition: another performance by the same person.
        seed: of everything random.
        fps: frames per second.

    Raises:
        ConfigError: the action is unknown.
    """
    if action not in MOTIONS:
        raise ConfigError(f"action {action!r} cannot be simulated; known are {', '.join(ACTIONS)}")
    motion = MOTIONS[action]
    # A seed per person: what a random number is used for must not depend on the frame rate or on the partner.
    number = ACTIONS.index(action)
    rng = np.random.default_rng((seed, 2, performer, number, repetition))
    style = _of_the_day(style_of(performer, seed), rng)
    seconds, start_s, end_s = _time_axis(motion.seconds * style.tempo, fps, rng)
    act = Act(seconds, start_s, end_s, style, rng)
    motion.draw(act)
    people = [pose_figure(style.body, to_pose(act))]
    if motion.partner is not None:
        people.append(_partner(action, performer, act, seed, repetition))
    return Clip(
        clip_id=f"{performer_name(performer)}-{action.replace(' ', '_')}-{repetition}",
        topology=FIGURE,
        positions=np.stack([positions for positions, _ in people]),
        confidence=np.ones((len(people), len(seconds), FIGURE.num_joints), np.float32),
        fps=fps,
        action=action,
        captions=captions_of(action, performer, seed),
        rotations=np.stack([rotations for _, rotations in people]),
        source=Source(
            dataset="simulated", format="figure", subject=performer_name(performer), repetition=str(repetition + 1)
        ),
    )


def _of_the_day(style: Style, rng: np.random.Generator) -> Style:
    """Nobody does the same thing twice: small changes to tempo, vigour and stance."""
    return replace(
        style,
        tempo=style.tempo * float(rng.uniform(0.92, 1.08)),
        vigour=style.vigour * float(rng.uniform(0.96, 1.04)),
        arms_bent=max(0.0, style.arms_bent + float(rng.uniform(-0.03, 0.05))),
    )


def _time_axis(length_s: float, fps: float, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """Frame times, and when the action starts and ends: a little idle time before and after, 1.5 to 3 s in all."""
    before, after = rng.uniform(0.05, 0.25, 2)
    length_s = float(np.clip(length_s, 1.3, 2.6))
    total = float(np.clip(before + length_s + after, 1.5, 3.0))
    seconds = np.arange(int(total * fps)) / fps
    return seconds, float(before), float(min(before + length_s, total - 0.04))


def _partner(action: str, performer: int, lead: Act, seed: int, repetition: int) -> tuple[np.ndarray, np.ndarray]:
    """The second person, who faces the first and moves with the same clock."""
    motion = MOTIONS[action]
    assert motion.partner is not None
    rng = np.random.default_rng((seed, 3, performer, ACTIONS.index(action), repetition))
    # Hands are shaken right with right or left with left.
    style = replace(style_of(1000 + int(rng.integers(1000)), seed), side=lead.style.side, tempo=lead.style.tempo)
    late = float(rng.uniform(0.0, 0.06))
    act = Act(lead.seconds, lead.start_s + late, lead.end_s + late, style, rng)
    motion.partner(act)
    positions, rotations = pose_figure(style.body, to_pose(act))
    # The length of two hands lies between the wrists.
    gap = motion.gap * (lead.style.body.arm_m + style.body.arm_m) + 0.16
    positions = rotate_y(positions, np.pi) + np.array((0, 0, gap), np.float32)
    half_turn = np.array([0, 0, 1, 0], np.float32)
    return positions.astype(np.float32), quaternion_product(half_turn, rotations).astype(np.float32)
