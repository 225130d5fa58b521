"""The gradient of an answer to each joint and frame, a deletion curve, and the check with randomised weights."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.render.batch import RenderBatch, batch_of_places
from skeletonllm.render.prepare import PreparedClip
from skeletonllm.skeleton.clip import Clip

_PER_CM = 0.01
_AT_ONCE = 16
_WITHOUT_GRADIENT = ("jtm", "paper")
_MOST_STEPS = 12
_SHUFFLES = 3
_RESAMPLES = 4000


@dataclass(frozen=True)
class Deletion:
    """How likely the answer stays while joints are hidden, most important first, or in random orders.

    Args:
        hidden: how many joints of each person are hidden at each step; only joints that are seen are counted.
        ordered: the answer's share of the candidates' likelihood, by saliency.
        random: the same for each random order.
    """

    hidden: tuple[int, ...]
    ordered: tuple[float, ...]
    random: tuple[tuple[float, ...], ...]

    @property
    def area(self) -> float:
        """Mean over the steps: the lower, the better saliency found what matters."""
        return float(np.mean(self.ordered))

    @property
    def random_areas(self) -> tuple[float, ...]:
        """The same for each random order."""
        return tuple(float(np.mean(one)) for one in self.random)

    @property
    def gain(self) -> tuple[float, float, float]:
        """Area between the mean random curve and that of saliency, and its 95 % interval: a bootstrap over the orders.

        Above 0, hiding what saliency names hurts more than hiding joints at random. The interval is of this clip alone.
        """
        gains = np.array(self.random_areas) - self.area
        drawn = np.random.default_rng(0).choice(gains, (_RESAMPLES, len(gains))).mean(1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        return float(gains.mean()), float(low), float(high)


@dataclass(frozen=True)
class Explanation:
    """Why a student gives an answer about a clip.

    Args:
        clip: what it was asked about.
        answer: what is explained.
        against: the answer that it is explained against.
        shares: likelihood of each candidate as a share of all, by name, largest first.
        times_s: when the frames are that the student sees.
        frames: the frames.
        gradient: of log p(answer) - log p(against), each the mean over its tokens, to the places of the joints in every
            frame of the clip; 1/m on the canonical body.
        saliency: per frame that the student sees: length of the gradient's sum over the clip's frames nearest to it, times
            one centimetre. What the difference changes by when the joint is moved so far all that time.
        joints: their places in these frames as the camera looks at them: x to the right, y up; metres on the canonical
            body.
        seen: which of them are seen. A joint that is seen in no frame takes no part in the two tests: such joints would be
            0 in every map, which correlates, and hiding them does nothing, which only random orders would pay for.
        deletion: what hiding joints does.
        randomised: rank correlation of `saliency` with that of the same student whose weights of one part, or of all, are
            shuffled; once for each of several shuffles.
    """

    clip: Clip
    answer: str
    against: str
    shares: dict[str, float]
    times_s: tuple[float, ...]
    frames: Float32[np.ndarray, "frames 3 height width"]
    gradient: Float32[np.ndarray, "persons times joints 3"]
    saliency: Float32[np.ndarray, "persons frames joints"]
    joints: Float32[np.ndarray, "persons frames joints 3"]
    seen: Bool[np.ndarray, "persons frames joints"]
    deletion: Deletion
    randomised: dict[str, tuple[float, ...]]

    def of_joints(self) -> Float32[np.ndarray, "persons joints"]:
        """Saliency over the whole clip."""
        return self.saliency.sum(1)

    def of_times(self) -> Float32[np.ndarray, "persons times joints"]:
        """Saliency for each frame of the clip: that of the nearest frame which the student sees."""
        return self.saliency[:, _nearest(self.times_s, self.clip)]


def explain_answer(
    student: SkeletonLLM,
    clip: Clip,
    actions: Sequence[str],
    answer: str | None = None,
    against: str | None = None,
    random_orders: int = 8,
    seed: int = 0,
) -> Explanation:
    """Explain one answer.

    Args:
        student: in evaluation mode.
        clip: what it is asked about.
        actions: the candidates, at least two.
        answer: what is explained; by default the student's own answer.
        against: by default the likeliest other one.
        random_orders: of the deletion curve, at least one.
        seed: of the random orders and of the shuffled weights.

    Raises:
        ConfigError: the renderer draws something else than places, an answer is not among the candidates or is explained
            against itself, or there is no random order.
        DataError: nobody is seen in the clip, or in none of the frames that the student sees.

    Source: gradients: Simonyan et al. (2013); deletion: Petsiuk et al., RISE (2018); randomised weights: Adebayo et al.,
    Sanity Checks for Saliency Maps (2018).
    """
    kind = student.renderer.config.renderer
    if kind in _WITHOUT_GRADIENT:
        raise ConfigError(f"renderer {kind!r}: its batch is not a function of places; give a checkpoint of another one")
    if random_orders < 1:
        raise ConfigError(
            f"random_orders is {random_orders}; without one there is nothing to compare with, give at least 1"
        )
    if not (clip.confidence > 0).any():
        raise DataError(f"clip {clip.clip_id}: no joint is seen in any frame; choose another clip")
    prepared = student.renderer.prepare(clip)
    batch = student.renderer.collate([prepared])
    prompt = mqa_prompt(actions)
    shares = dict(zip(actions, _shares(student, batch, prompt, actions)[0].tolist(), strict=True))
    ordered = sorted(shares, key=shares.__getitem__, reverse=True)
    answer = ordered[0] if answer is None else _known(answer, actions)
    against = next(name for name in ordered if name != answer) if against is None else _known(against, actions)
    if answer == against:
        raise ConfigError(f"{answer!r} is explained against itself, which is 0 everywhere; give another --against")
    seen = _by_person(batch.confidence[0] > 0, clip)
    if not seen.any():
        raise DataError(f"clip {clip.clip_id}: nobody is seen in the frames that the student sees; choose another clip")
    ever = np.logical_or.reduce(seen, axis=1)
    gradient = answer_gradient(student, prepared, prompt, answer, against)
    saliency = _saliency(gradient, clip, tuple(batch.times_s[0].tolist()))
    with torch.inference_mode():
        frames = student.renderer(batch)[0].float().cpu().numpy()
    return Explanation(
        clip=clip,
        answer=answer,
        against=against,
        shares={name: shares[name] for name in ordered},
        times_s=tuple(batch.times_s[0].tolist()),
        frames=frames,
        gradient=gradient,
        saliency=saliency,
        joints=_by_person(batch.joints[0], clip),
        seen=seen,
        deletion=_deletion(student, batch, prompt, actions, answer, saliency, ever, random_orders, seed),
        randomised=_randomised(student, prepared, prompt, answer, against, clip, saliency, ever, seed),
    )


def answer_gradient(
    student: SkeletonLLM, clip: PreparedClip, prompt: str, answer: str, against: str
) -> Float32[np.ndarray, "persons times joints 3"]:
    """Of log p(answer) - log p(against), each the mean over its tokens, to the joints' places; 1/m on the canonical body.

    Exact, with the joints' turns and the cameras held (see `batch_of_places`).
    """
    places = torch.from_numpy(clip.positions).clone().requires_grad_()
    score = answer_score(student, batch_of_places(clip, student.renderer.config, places), prompt, answer, against)
    (gradient,) = torch.autograd.grad(score, places)
    return gradient.numpy().astype(np.float32)


def answer_score(student: SkeletonLLM, batch: RenderBatch, prompt: str, answer: str, against: str) -> Tensor:
    """log p(answer) - log p(against) for one clip, each the mean over its tokens."""
    device = next(student.parameters()).device
    prompts, both = [prompt], [answer, against]
    losses = [student.loss(batch.to(device), prompts, [one]) for one in both]
    return losses[1] - losses[0]


def _known(answer: str, actions: Sequence[str]) -> str:
    if answer in actions:
        return answer
    close = difflib.get_close_matches(answer, actions, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(actions[:20])}"
    raise ConfigError(f"no candidate {answer!r}; {hint}")


def _by_person(values: Tensor, clip: Clip) -> np.ndarray:
    """`[frames, persons * joints, ...]` to `[persons, frames, joints, ...]`."""
    return values.unflatten(1, (clip.num_persons, -1)).transpose(0, 1).numpy()


def _shares(
    student: SkeletonLLM, batch: RenderBatch, prompt: str, actions: Sequence[str]
) -> Float[Tensor, "batch candidates"]:
    """Likelihoods of the candidates as shares, for each row of the batch."""
    device = next(student.parameters()).device
    return student.rank(batch.to(device), [prompt] * len(batch), list(actions)).float().softmax(-1).cpu()


def _nearest(times_s: Sequence[float], clip: Clip) -> Int64[np.ndarray, " times"]:
    """The frame that the student sees nearest to each frame of the clip."""
    times = np.arange(clip.num_frames) / clip.fps
    return np.abs(times[:, None] - np.asarray(times_s)[None]).argmin(1)


def _saliency(
    gradient: Float32[np.ndarray, "persons times joints 3"], clip: Clip, times_s: tuple[float, ...]
) -> Float32[np.ndarray, "persons frames joints"]:
    nearest = _nearest(times_s, clip)
    summed = np.zeros((len(gradient), len(times_s), *gradient.shape[2:]), np.float32)
    for frame in range(len(times_s)):
        summed[:, frame] = gradient[:, nearest == frame].sum(1)
    return _PER_CM * np.linalg.norm(summed, axis=-1).astype(np.float32)


def _deletion(
    student: SkeletonLLM,
    batch: RenderBatch,
    prompt: str,
    actions: Sequence[str],
    answer: str,
    saliency: Float32[np.ndarray, "persons frames joints"],
    seen: Bool[np.ndarray, "persons joints"],
    random_orders: int,
    seed: int,
) -> Deletion:
    """Joints are hidden in all frames and of all persons at once, as if they had not been seen."""
    rng = np.random.default_rng(seed)
    joints, hideable = saliency.shape[2], np.flatnonzero(seen.any(0))
    orders = [
        hideable[np.argsort(-saliency.sum((0, 1))[hideable], kind="stable")],
        *(rng.permutation(hideable) for _ in range(random_orders)),
    ]
    counts = np.unique(np.linspace(0, len(hideable), min(len(hideable), _MOST_STEPS) + 1).round().astype(int))
    hidden = [order[:count] for order in orders for count in counts]
    place = list(actions).index(answer)
    shares: list[float] = []
    for start in range(0, len(hidden), _AT_ONCE):
        some = _hiding(batch, hidden[start : start + _AT_ONCE], joints)
        shares += _shares(student, some, prompt, actions)[:, place].tolist()
    rows = np.array(shares).reshape(len(orders), len(counts)).tolist()
    return Deletion(tuple(counts.tolist()), tuple(rows[0]), tuple(tuple(row) for row in rows[1:]))


def _hiding(batch: RenderBatch, hidden: Sequence[np.ndarray], joints: int) -> RenderBatch:
    """The batch of one clip, once for each set of joints, which are not seen."""
    seen = torch.ones(len(hidden), joints)
    for row, some in enumerate(hidden):
        seen[row, torch.from_numpy(some)] = 0
    persons = batch.joints.shape[2] // joints
    seen = seen.repeat(1, persons)[:, None]
    many = RenderBatch(**{name: value.expand(len(hidden), *value.shape[1:]) for name, value in vars(batch).items()})
    return replace(
        many,
        confidence=many.confidence * seen,
        velocities=many.velocities * seen[..., None],
        accelerations=many.accelerations * seen[..., None],
    )


def _randomised(
    student: SkeletonLLM,
    clip: PreparedClip,
    prompt: str,
    answer: str,
    against: str,
    recorded: Clip,
    saliency: Float32[np.ndarray, "persons frames joints"],
    seen: Bool[np.ndarray, "persons joints"],
    seed: int,
) -> dict[str, tuple[float, ...]]:
    """Rank correlations with the saliency of a student whose weights of a part are shuffled; they are put back."""
    found = {}
    times_s = tuple(student.renderer.collate([clip]).times_s[0].tolist())
    parts = {part: list(weights.values()) for part, weights in student.named_parts().items() if weights}
    parts["all"] = [weight for weights in parts.values() for weight in weights]
    for part, weights in parts.items():
        each = []
        for shuffle in range(_SHUFFLES):
            kept = [weight.detach().clone() for weight in weights]
            try:
                _shuffle(weights, seed + shuffle)
                other = _saliency(answer_gradient(student, clip, prompt, answer, against), recorded, times_s)
            finally:
                _put_back(weights, kept)
            each.append(rank_correlation(*(one.swapaxes(1, 2)[seen].ravel() for one in (saliency, other))))
        found[part] = tuple(each)
    return found


@torch.no_grad()
def _put_back(weights: Sequence[nn.Parameter], kept: Sequence[Tensor]) -> None:
    for weight, before in zip(weights, kept, strict=True):
        weight.copy_(before)


@torch.no_grad()
def _shuffle(weights: Sequence[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
        weight.copy_(weight.flatten()[order].view_as(weight))


def rank_correlation(one: Float[np.ndarray, " values"], other: Float[np.ndarray, " values"]) -> float:
    """Spearman's; 0 where one of them is the same everywhere."""
    ranks = [_ranks(values) for values in (one, other)]
    spread = [float(rank.std()) for rank in ranks]
    if min(spread) == 0:
        return 0.0
    return float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean() / (spread[0] * spread[1]))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Places in order; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts - 1) / 2)[inverse.ravel()]
