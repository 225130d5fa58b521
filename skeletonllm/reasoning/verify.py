"""Check a chain against the joints: each step supported, contradicted or not measurable, and the whole accepted or not."""

import re
from collections.abc import Iterator
from dataclasses import replace

from skeletonllm.reasoning.chain import ChainStep, ReasoningChain
from skeletonllm.reasoning.claims import check_step
from skeletonllm.reasoning.free_text import check_text
from skeletonllm.reasoning.leak import leaked_words
from skeletonllm.reasoning.measure import slack_frames
from skeletonllm.reasoning.signals import Signals, measure_signals
from skeletonllm.reasoning.tolerances import tolerances
from skeletonllm.skeleton.clip import Clip

_OTHER = {"left": "right", "right": "left"}
_LIMB = re.compile(r"\b(left|right) (?:hand|wrist|arm|elbow|foot|ankle|leg|knee|shoulder|hip)")


def verify_chain(chain: ReasoningChain, clip: Clip, signals: Signals | None = None) -> ReasoningChain:
    """The chain with the verdict of each step, and its own.

    Accepted: the answer is the clip's action, nothing gives it away before the end, no step and no clause of the summary is
    contradicted, at least one step is supported, and the steps go in the order of time, causes first.

    Args:
        chain: to be checked.
        clip: what it speaks of.
        signals: of the clip, where they are measured already.
    """
    signals = measure_signals(clip) if signals is None else signals
    allowed = tolerances(signals)
    verdicts = tuple(check_step(step, signals, allowed) for step in chain.steps)
    reasons = []
    if clip.action is not None and chain.answer != clip.action:
        reasons.append(f"the answer is {chain.answer!r}, the clip shows {clip.action!r}")
    if leak := leaked_label(chain):
        reasons.append(f"the label {chain.answer!r} is given away before the answer: {leak!r}")
    for number, (step, verdict) in enumerate(zip(chain.steps, verdicts, strict=True)):
        if verdict.verdict == "contradicted":
            reasons.append(f"step {number} ({step.side} {step.part} {step.predicate}): {verdict.reason}")
    reasons += _faults_of_order(chain.steps, slack_frames(clip.num_frames))
    reasons += _faults_of_words(chain.steps)
    held = [step for step, verdict in zip(chain.steps, verdicts, strict=True) if verdict.verdict == "supported"]
    reasons += _faults_of_summary(chain.summary, held, signals)
    if not any(verdict.verdict == "supported" for verdict in verdicts):
        reasons.append("no step is supported by the joints")
    return replace(
        chain,
        verdict="rejected" if reasons else "accepted",
        step_verdicts=verdicts,
        reasons=tuple(reasons),
    )


def leaked_label(chain: ReasoningChain) -> str | None:
    """The words that name the label before the answer; None where none do."""
    for text in (chain.summary, *(step.text for step in chain.steps)):
        if leak := leaked_words(text, chain.answer):
            return leak
    return None


def _faults_of_order(steps: tuple[ChainStep, ...], slack: int) -> Iterator[str]:
    """Steps that begin before an earlier one or before their cause, by more than frames may be off."""
    for number, step in enumerate(steps):
        if any(cause >= number or steps[cause].first_frame > step.first_frame + 2 * slack for cause in step.causes):
            yield f"step {number} begins before a step that it names as its cause"
        latest = max(steps[: number + 1], key=lambda one: one.first_frame)
        if step.first_frame < latest.first_frame - 2 * slack:
            yield (
                f"step {number} begins in frame {step.first_frame}, an earlier one in frame {latest.first_frame}; "
                "steps go in the order of time"
            )


def _faults_of_words(steps: tuple[ChainStep, ...]) -> Iterator[str]:
    """Texts that name the other side than their step does."""
    for number, step in enumerate(steps):
        if step.side in _OTHER and set(_LIMB.findall(step.text)) == {_OTHER[step.side]}:
            yield f"step {number} is about the {step.side} {step.part}, its text about the {_OTHER[step.side]} one"


def _faults_of_summary(summary: str, held: list[ChainStep], signals: Signals) -> Iterator[str]:
    """Clauses of the summary that the joints contradict: it is the first that a student learns to say."""
    for checked in check_text(summary, signals, held):
        for verdict in checked.verdicts:
            if verdict.verdict == "contradicted":
                yield f"the summary says {checked.claim.words!r}: {verdict.reason}"
