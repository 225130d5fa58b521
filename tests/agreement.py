"""How well each kind of evidence foretells what a student takes for what: `python -m tests.agreement WORKDIR`.

WORKDIR holds clips and a trained first stage. Foretold from the training clips; judged by the student's answers about
held-out clips. Prints Spearman's correlation with these (over all pairs, and the mean of each action's own), and the share
of the held-out errors that are among the first three partners.
"""

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pipelines import assemble, motion, predict
from pipelines.choices import choose
from pipelines.launch import newest_checkpoint
from pipelines.split import protocol_of
from pipelines.workdir import Workdir
from skeletonllm.mining.kinematics import kinematic_strengths
from skeletonllm.mining.merge import EvidenceKind, merge_evidence
from skeletonllm.mining.student import student_strengths
from skeletonllm.plain import to_plain
from skeletonllm.shards.reader import ShardReader

_TOP = 3


def main(folder: str) -> None:
    """Measure and print."""
    work = Workdir(Path(folder))
    choices, clips = choose(work), work.newest("clips")
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    actions, plain = assemble.training_actions(clips, protocol), to_plain(protocol)
    checkpoint = newest_checkpoint(work.runs, choices.recipe.stages[0].name)
    answers = {}
    for split, name in (("train", "training_predictions"), ("test", "held_out_predictions")):
        config = predict.PredictConfig((split,), actions, plain)
        table = ShardReader(predict.run(clips, checkpoint, config, work.data, name=name)).table()
        scores = np.stack(table.column("scores").to_pylist()).astype(np.float64)
        answers[split] = student_strengths(table.column("action").to_pylist(), scores, actions)
    measured = ShardReader(motion.run(clips, motion.MotionConfig(actions, plain), work.data)).table()
    statistics = np.stack(measured.column("statistics").to_pylist()).astype(np.float64)
    batch = (measured.column("action").to_pylist(), statistics)
    strengths: dict[EvidenceKind, np.ndarray] = {
        "student": answers["train"][0],
        "kinematics": kinematic_strengths(lambda: [batch], actions),
    }
    truth, errors = answers["test"]
    table = Table(title=f"{protocol.name}: {errors.sum()} errors about held-out clips")
    for name in ("evidence", "over all pairs", "per action", f"errors in the first {_TOP}"):
        table.add_column(name, justify="left" if name == "evidence" else "right")
    for name, kinds in {"student": ["student"], "kinematics": ["kinematics"], "both": list(strengths)}.items():
        scores = _scores(actions, {kind: strengths[kind] for kind in kinds})
        table.add_row(name, *(f"{value:.2f}" for value in judge(scores, truth, errors)))
    Console().print(table)


def judge(scores: np.ndarray, truth: np.ndarray, errors: np.ndarray) -> tuple[float, float, float]:
    """Correlation over all pairs, mean correlation of an action's pairs, share of the errors among its first partners."""
    others = ~np.eye(len(scores), dtype=bool)
    shares = truth / truth.sum(1, keepdims=True)
    rows = [_spearman(scores[row][others[row]], truth[row][others[row]]) for row in range(len(scores))]
    first = np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]
    caught = np.take_along_axis(errors, first, axis=1).sum() / max(1, errors.sum())
    return _spearman(scores[others], shares[others]), float(np.mean(rows)), float(caught)


def _scores(actions: tuple[str, ...], strengths: dict[EvidenceKind, np.ndarray]) -> np.ndarray:
    scores = np.zeros((len(actions), len(actions)))
    for pair in merge_evidence(actions, strengths, top_k=len(actions)):
        scores[actions.index(pair.action), actions.index(pair.confused_with)] = pair.score
    return scores


def _spearman(one: np.ndarray, two: np.ndarray) -> float:
    """Of distinct values, as likelihoods and distances are."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, two)]
    return float(np.corrcoef(*ranks)[0, 1])


if __name__ == "__main__":
    main(sys.argv[1])
