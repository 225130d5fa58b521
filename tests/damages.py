"""Known ways to damage a true chain, each of which makes it false: what checking is measured by.

Whether a damaged chain is false is decided here, by the true movement and by thresholds of its own, and not by what is
being measured. Where a change leaves a chain true (both hands rise, so their sides can be swapped), it is no damage.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipelines.teacher.wording import Draw, words
from skeletonllm.reasoning.chain import OPPOSITES, ChainStep, ReasoningChain
from skeletonllm.reasoning.facts import Fact
from skeletonllm.reasoning.signals import Signals
from skeletonllm.reasoning.turning import turning_points

# Below these the true movement is none: body sizes (about 7 cm), degrees.
_STILL = 0.05
_STRAIGHT_DEG = 12.0
_FACING_DEG = 15.0
_MIN_SHIFT = 0.2  # of the clip

_OTHER = {"left": "right", "right": "left"}
_AXES = {"raises": (1, 1), "lowers": (1, -1), "moves forward": (2, 1), "moves back": (2, -1), "moves sideways": (0, 0)}
_LIMB_CLAIMS = ("raises", "lowers", "moves forward", "moves back", "moves sideways", "swings")
_CLAIMS = [
    *((part, predicate) for part in ("wrist", "ankle") for predicate in _LIMB_CLAIMS),
    *((part, predicate) for part in ("elbow", "knee") for predicate in ("extends", "flexes")),
    *(("pelvis", predicate) for predicate in (*_LIMB_CLAIMS[:5], "turns left", "turns right")),
    *(("spine", predicate) for predicate in ("bends", "straightens")),
    *(("wrist", predicate) for predicate in ("is above the head", "is at the head")),
]  # fmt: skip

# Other words for the simulated actions and some of real data sets, as people use them.
_SYNONYMS = {
    "wave": ("a greeting", "saying goodbye"),
    "raise hand": ("hand raising", "raising a hand"),
    "sit down": ("taking a seat", "being seated"),
    "squat": ("crouching down", "a crouch"),
    "kick": ("kicking a ball", "he kicked"),
    "step up": ("climbing a step", "stepping up"),
    "throw": ("tossing a ball", "hurling it"),
    "punch": ("boxing", "a boxer's blow"),
    "pick up": ("picking it up", "something was picked up"),
    "bow": ("bowing politely", "he bowed"),
    "clap": ("applauding", "applause"),
    "jump": ("a leap", "jumping up"),
    "handshake": ("shaking hands", "hands being shaken"),
    "push": ("shoving", "he pushes"),
}


def damage(chain: ReasoningChain, truth: Signals, rng: random.Random) -> Iterator[tuple[str, ReasoningChain]]:
    """False chains made of a true one, with the name of what was done to each.

    Args:
        chain: true.
        truth: the curves of the movement that it speaks of, without a sensor's noise where that is known.
        rng: of what is done where.
    """
    for name, make in _WAYS.items():
        damaged = make(chain, truth, rng)
        if damaged is not None:
            yield name, damaged


def blurred(chain: ReasoningChain, num_frames: int, rng: random.Random, share: float = 0.05) -> ReasoningChain:
    """The chain with frames that are off by up to a share of the clip: still true."""

    def off(frame: int) -> int:
        return min(max(0, frame + round(rng.uniform(-share, share) * num_frames)), num_frames - 1)

    frames = [sorted((off(step.first_frame), off(step.last_frame))) for step in chain.steps]
    steps = (replace(s, first_frame=f[0], last_frame=f[1]) for s, f in zip(chain.steps, frames, strict=True))
    return replace(chain, steps=tuple(steps))


def is_false(step: ChainStep, truth: Signals) -> bool:
    """Whether the true movement shows nothing of a claim; not so where it cannot be told."""
    sides = ("left", "right") if step.side == "both" and step.part in ("wrist", "ankle", "elbow", "knee") else ()
    if sides and step.predicate not in ("approaches", "leaves", "swings"):
        return any(_is_false_of(replace(step, side=side), truth) for side in sides)
    return _is_false_of(step, truth)


def _is_false_of(step: ChainStep, truth: Signals) -> bool:
    key, window = (step.person, step.part, step.side), slice(step.first_frame, step.last_frame + 1)
    if step.predicate in ("extends", "flexes"):
        angle = None if truth.flat else truth.angles.get(key)
        return angle is not None and _rise(angle[window], 1 if step.predicate == "extends" else -1) < _STRAIGHT_DEG
    if step.predicate in ("bends", "straightens"):
        bend = None if truth.flat else truth.bends.get(step.person)
        return bend is not None and _rise(bend[window], 1 if step.predicate == "bends" else -1) < _STRAIGHT_DEG / 1.5
    if step.predicate in ("turns left", "turns right"):
        heading = truth.headings.get(step.person)
        return heading is not None and _rise(heading[window], 1 if step.predicate == "turns left" else -1) < _FACING_DEG
    if step.predicate in ("approaches", "leaves"):
        gap = truth.gaps.get((step.person, step.part))
        measured = gap is not None and (step.part == "pelvis" or not truth.flat)
        return measured and _rise(gap[window], 1 if step.predicate == "leaves" else -1) < _STILL
    if step.predicate in ("is above the head", "is at the head"):
        above = step.predicate == "is above the head"
        curve = (truth.over_head if above else truth.from_head).get((step.person, step.side))
        if curve is None or truth.flat:
            return False
        return bool(np.mean(curve[window] > 0 if above else curve[window] < 0.3) < 0.25)
    path, room = truth.paths.get(key), truth.rooms.get(key)
    if path is None or room is None:
        return False
    if step.predicate == "holds still":
        return float(np.linalg.norm(np.ptp(path[window], axis=0))) > 6 * _STILL
    if step.predicate == "swings":
        both = truth.gaps.get((step.person, step.part)) if step.side == "both" else None
        curves = [*path[window].T, *room[window].T, *([] if both is None else [both[window]])]
        return all(len(turning_points(curve, 0.8 * _STILL)) <= 2 for curve in curves)
    if step.predicate == "leads":
        return False
    axis, direction = _AXES[step.predicate]
    if truth.flat and axis != 1:
        return False
    ways = (direction,) if direction else (1, -1)
    return all(_rise(curve[window, axis], way) < _STILL for curve in (path, room) for way in ways)


def _rise(curve: np.ndarray, direction: int) -> float:
    """How far a curve rises (or falls) at most."""
    signed = direction * curve
    return float((signed - np.minimum.accumulate(signed)).max())


def _is_elsewhere(step: ChainStep, moved: ChainStep, truth: Signals) -> bool:
    """Whether a step is false in other frames: they share less than half with its own, and nothing of it is in them."""
    shared = min(step.last_frame, moved.last_frame) - max(step.first_frame, moved.first_frame) + 1
    total = max(step.last_frame, moved.last_frame) - min(step.first_frame, moved.first_frame) + 1
    around = moved.first_frame <= step.first_frame and step.last_frame <= moved.last_frame
    if shared >= 0.5 * total or around:  # frames around the true ones are not wrong, only wide
        return False
    if is_false(moved, truth):
        return True
    # They overlap. The rest of the new frames must show nothing: it is no other movement of the same kind.
    rest = [(moved.first_frame, step.first_frame - 1), (step.last_frame + 1, moved.last_frame)]
    outside = [replace(moved, first_frame=a, last_frame=b) for a, b in rest if b - a >= 2]
    return shared > 0 and bool(outside) and all(is_false(one, truth) for one in outside)


def _said(step: ChainStep, draw: Draw) -> ChainStep:
    """A step whose text says what it claims."""
    claim = (step.person, step.part, step.side, step.predicate, step.first_frame, step.last_frame)
    return replace(step, text=words(Fact(*claim, 1.0, 1.0), draw))


def _with(chain: ReasoningChain, steps: Sequence[ChainStep]) -> ReasoningChain:
    """A chain of other steps, whose words and summary say what they claim."""
    draw = Draw(chain.clip_id, chain.answer)
    said = tuple(_said(step, draw) for step in steps)
    text = ", then ".join(step.text for step in said[:2])
    return replace(chain, steps=said, summary=f"{text[0].upper()}{text[1:]}.")


def _one_step(
    change: Callable[[ChainStep, Signals, random.Random], Sequence[ChainStep]],
) -> Callable[[ReasoningChain, Signals, random.Random], ReasoningChain | None]:
    """A damage of one step: the first false one among what can be made of the steps, in random order."""

    def make(chain: ReasoningChain, truth: Signals, rng: random.Random) -> ReasoningChain | None:
        steps = list(chain.steps)
        for place in rng.sample(range(len(steps)), len(steps)):
            for false in change(steps[place], truth, rng):
                return _with(chain, [*steps[:place], replace(false, causes=()), *_free(steps[place + 1 :])])
        return None

    return make


def _free(steps: Sequence[ChainStep]) -> list[ChainStep]:
    """Steps without causes: one fault at a time."""
    return [replace(step, causes=()) for step in steps]


def _swap_side(step: ChainStep, truth: Signals, _: random.Random) -> Sequence[ChainStep]:
    if step.side not in _OTHER:
        return ()
    swapped = replace(step, side=_OTHER[step.side])
    return [swapped] if step.predicate == "leads" or is_false(swapped, truth) else ()


def _oppose(step: ChainStep, truth: Signals, _: random.Random) -> Sequence[ChainStep]:
    if step.predicate not in OPPOSITES:
        return ()
    opposed = replace(step, predicate=OPPOSITES[step.predicate])
    return [opposed] if is_false(opposed, truth) else ()


def _shift(step: ChainStep, truth: Signals, rng: random.Random) -> Sequence[ChainStep]:
    last = truth.num_frames - 1
    for _ in range(8):
        by = round(rng.uniform(_MIN_SHIFT + 0.01, 0.6) * truth.num_frames) * rng.choice((-1, 1))
        moved = replace(step, first_frame=step.first_frame + by, last_frame=step.last_frame + by)
        if moved.first_frame >= 0 and moved.last_frame <= last and _is_elsewhere(step, moved, truth):
            return [moved]
    return ()


def _leave_clip(step: ChainStep, truth: Signals, rng: random.Random) -> Sequence[ChainStep]:
    by = truth.num_frames - step.last_frame + rng.randrange(truth.num_frames)
    return [replace(step, first_frame=step.first_frame + by, last_frame=step.last_frame + by)]


def _swap_part(step: ChainStep, truth: Signals, rng: random.Random) -> Sequence[ChainStep]:
    parts = [part for part, predicate in _CLAIMS if predicate == step.predicate and part != step.part]
    swapped = []
    for part in rng.sample(parts, len(parts)):
        sides = ("center",) if part in ("pelvis", "spine") else ("left", "right")
        side = step.side if step.side in sides else rng.choice(sides)
        swapped.append(replace(step, part=part, side=side))
    return [other for other in swapped if is_false(other, truth)]


def _swap_person(step: ChainStep, truth: Signals, _: random.Random) -> Sequence[ChainStep]:
    swapped = replace(step, person=1 - step.person)
    return [swapped] if truth.num_persons > 1 and is_false(swapped, truth) else ()


def _apart(steps: Sequence[ChainStep], num_frames: int) -> list[tuple[int, int]]:
    """Pairs of steps of which one begins clearly after the other."""
    return [
        (i, j)
        for j in range(len(steps))
        for i in range(j)
        if steps[j].first_frame - steps[i].first_frame > _MIN_SHIFT * num_frames
    ]


def _tell_backward(chain: ReasoningChain, truth: Signals, rng: random.Random) -> ReasoningChain | None:
    """What came later is told to come first, in the other one's frames."""
    pairs = _apart(chain.steps, truth.num_frames)
    rng.shuffle(pairs)
    for i, j in pairs:
        early, late = chain.steps[i], chain.steps[j]
        if late.first_frame < early.last_frame:
            continue
        first = replace(late, first_frame=early.first_frame, last_frame=early.last_frame)
        then = replace(early, first_frame=late.first_frame, last_frame=late.last_frame)
        if _is_elsewhere(late, first, truth) or _is_elsewhere(early, then, truth):
            steps = list(_free(chain.steps))
            steps[i], steps[j] = replace(first, causes=()), replace(then, causes=())
            return _with(chain, steps)
    return None


def _list_backward(chain: ReasoningChain, truth: Signals, _: random.Random) -> ReasoningChain | None:
    """Each step keeps its frames, but the last one is told first."""
    return _with(chain, _free(chain.steps[::-1])) if _apart(chain.steps, truth.num_frames) else None


def _swap_causes(chain: ReasoningChain, truth: Signals, rng: random.Random) -> ReasoningChain | None:
    """What came later is told to be the cause of what came first."""
    pairs = _apart(chain.steps, truth.num_frames)
    if not pairs:
        return None
    i, j = rng.choice(pairs)
    others = [step for place, step in enumerate(chain.steps) if place not in (i, j)]
    return _with(chain, [*_free([chain.steps[j]]), replace(chain.steps[i], causes=(0,)), *_free(others)])


def _invent(chain: ReasoningChain, truth: Signals, rng: random.Random) -> ReasoningChain | None:
    """A claim of something that did not happen, in its place in time."""
    for _ in range(20):
        part, predicate = rng.choice(_CLAIMS)
        side = "center" if part in ("pelvis", "spine") else rng.choice(("left", "right"))
        length = max(3, round(rng.uniform(0.1, 0.4) * truth.num_frames))
        first = rng.randrange(max(1, truth.num_frames - length))
        last = min(first + length, truth.num_frames - 1)
        step = ChainStep(rng.randrange(min(2, truth.num_persons)), part, side, predicate, first, last, "")
        if is_false(step, truth):
            return _with(chain, sorted([*_free(chain.steps), step], key=lambda one: one.first_frame))
    return None


def _lie(chain: ReasoningChain, truth: Signals, rng: random.Random) -> ReasoningChain | None:
    """The steps stay true, the summary says what never happens."""
    for _ in range(20):
        part, predicate = rng.choice(_CLAIMS)
        side = "center" if part in ("pelvis", "spine") else rng.choice(("left", "right"))
        step = ChainStep(0, part, side, predicate, 0, truth.num_frames - 1, "")
        if is_false(step, truth):
            said = _said(step, Draw(chain.clip_id, chain.answer)).text
            return replace(chain, summary=f"{said[0].upper()}{said[1:]}.")
    return None


def _leak(chain: ReasoningChain, _: Signals, rng: random.Random) -> ReasoningChain | None:
    """The label in another form, before the answer."""
    forms = [*_SYNONYMS.get(chain.answer, ()), _ing(chain.answer), chain.answer.upper()]
    said = rng.choice(forms)
    if rng.random() < 0.5:
        return replace(chain, summary=f"{chain.summary} It looks like {said}.")
    place = rng.randrange(len(chain.steps))
    steps = [replace(s, text=f"{s.text}, as in {said}") if n == place else s for n, s in enumerate(chain.steps)]
    return replace(chain, steps=tuple(steps))


def _ing(action: str) -> str:
    verb, _, rest = action.partition(" ")
    if verb.endswith(("s", "ing")):
        return action.upper()
    doubled = verb + verb[-1] if verb in ("clap", "sit", "squat", "step", "nod", "drop") else verb.removesuffix("e")
    return f"{doubled}ing {rest}".strip()


_WAYS: dict[str, Callable[[ReasoningChain, Signals, random.Random], ReasoningChain | None]] = {
    "side swapped": _one_step(_swap_side),
    "opposite movement": _one_step(_oppose),
    "wrong part": _one_step(_swap_part),
    "wrong person": _one_step(_swap_person),
    "wrong frames": _one_step(_shift),
    "frames outside the clip": _one_step(_leave_clip),
    "order reversed": _tell_backward,
    "listed backward": _list_backward,
    "causes reversed": _swap_causes,
    "invented step": _invent,
    "false summary": _lie,
    "label leaked": _leak,
}
NAMES: tuple[str, ...] = tuple(_WAYS)
