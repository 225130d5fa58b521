"""How long a stage's steps take here: a few real ones in a folder that is thrown away."""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import assemble, launch
from pipelines.staircase import Step
from skeletonllm.train.metrics import read_metrics

NUM_STEPS = 20
_FIRST = 5  # steps that are left out: caches fill, kernels are built


@dataclass(frozen=True)
class Probe:
    """What was measured.

    Args:
        step_s: of one step, the median.
        around_s: of start, end and saving, together.
    """

    step_s: float
    around_s: float

    def hours(self, num_steps: int) -> float:
        """Of so many steps, in one go."""
        return (self.around_s + num_steps * self.step_s) / 3600


def probe(step: Step, corpus: Sequence[str], workdir: Path) -> Probe:
    """Train a stage for a few steps on its own data, by its own engine and workers; nothing of it is kept.

    Args:
        step: the stage; its pairs and chains must be there. Weights that are not there are new ones: no step is slower or
            faster for it.
        corpus: texts that a tokenizer made on the spot must know.
        workdir: on a disk that all machines share where there are several.
    """
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=workdir) as name:
        scratch, run = Path(name), step.run
        examples = assemble.run(run.clips, step.pairs, step.chains, step.config, scratch / "data")
        before = run.init_from if run.init_from is not None and Path(run.init_from.path, "meta.json").exists() else None
        short = replace(
            run,
            stage=replace(run.stage, max_steps=NUM_STEPS),
            engine=replace(run.engine, checkpoint_every=10 * NUM_STEPS),
            examples=examples,
            init_from=before,
        )
        done = launch.launch(short, scratch / "runs", list(corpus))
        rows = read_metrics(Path(done.path).parents[1] / "metrics.jsonl")
        taken = [float(row["train/step_s"]) for row in rows]
        usual = statistics.median(taken[min(_FIRST, len(taken) - 1) :])
        return Probe(usual, max(0.0, launch.launch_s(done) - usual * len(taken)))
