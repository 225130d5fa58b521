"""One stage of training on one rank: the student, its data and engine put together, resumed and run."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from cachetools import LRUCache

from skeletonllm.errors import BackendError, ConfigError
from skeletonllm.model.config import TINY
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.plain import digest, to_plain
from skeletonllm.render.diagnosis import diagnose
from skeletonllm.render.prepare import PreparedClip
from skeletonllm.skeleton.clip import Clip
from skeletonllm.train import checkpoint
from skeletonllm.train.checkpoint import CHECKPOINTS, FORMAT_VERSION, CheckpointMeta, Kept
from skeletonllm.train.config import RunConfig
from skeletonllm.train.data import Batch, StageData
from skeletonllm.train.engine import Engine, init_distributed, make_engine, parameter_groups
from skeletonllm.train.guards import GoBack, Guard, Skipped, read_skipped, skip
from skeletonllm.train.lineage import about_run
from skeletonllm.train.loop import Position, train
from skeletonllm.train.meter import Meter
from skeletonllm.train.metrics import METRICS, MetricsFile, TensorBoard, read_metrics
from skeletonllm.train.pictures import Album, show_first_batch
from skeletonllm.train.random_state import load_random_state, save_random_state, seed_all
from skeletonllm.train.ranks import Ranks

logger = logging.getLogger(__name__)

VERSION = 3
# Prepared clips that a rank keeps from step to step; those that were not used for longest go first.
_PREPARED_BYTES = 2**30
# Clips whose Gaussians are asked how they react to motion.
_DIAGNOSED = 4
# Settings of the engine that change no weight, but for the rounding of sums: a run goes on when they were changed.
_HOW = (
    *("zero_stage", "offload", "num_workers", "num_nodes", "needs_gpu", "gradient_accumulation", "tensorboard"),
    *("hang_after_s", "start_within_s", "grace_s"),
    *("checkpoint_every", "keep_last", "keep_best", "best_by", "best_is"),
)


def fingerprint_of(run: RunConfig) -> str:
    """The name of what a run makes: a hash of all that its weights depend on; not of paths, or on how many workers."""
    plain = to_plain(run)
    plain["engine"] = {name: value for name, value in plain["engine"].items() if name not in _HOW}
    for dataset in ("clips", "examples", "init_from"):
        plain[dataset] = plain[dataset] and plain[dataset]["fingerprint"]
    return digest({"pipeline": "train", "version": VERSION, "run": plain})


def run_stage(
    run: RunConfig, folder: Path, corpus: list[str] | None = None, stop: Callable[[], bool] = lambda: False
) -> Path:
    """Train one stage on this rank, going on from the newest whole checkpoint in `folder`.

    Args:
        run: all that the result depends on.
        folder: of the run; holds `metrics.jsonl`, `checkpoints/`, what is skipped, and pictures.
        corpus: texts that a tokenizer made on the spot must know besides the examples.
        stop: whether this process was asked to stop.

    Returns:
        The folder of the last checkpoint.

    Raises:
        ConfigError: the settings cannot work, or it goes wrong again from the same checkpoint.
        GoBack: it went wrong. Which examples it skips is written down; a new process goes on from the checkpoint before
            them. Not this one, for DeepSpeed leaves its copies of the weights behind.
        Stopped: it was asked to; it is saved.
    """
    if run.engine.needs_gpu and not torch.cuda.is_available():
        raise BackendError(
            "engine.needs_gpu is set, and torch sees no GPU on this machine (`skeletonllm doctor` says why); train on one "
            "that has some, or --set engine.needs_gpu=false"
        )
    ranks = Ranks(*init_distributed()) if run.engine.kind == "deepspeed" else Ranks()
    try:
        return _run(run, folder, corpus, stop, ranks)
    except GoBack as wrong:
        _write_skipped(run, folder, range(wrong.first, wrong.last + 1), wrong.why, ranks)
        raise


def _run(run: RunConfig, folder: Path, corpus: list[str] | None, stop: Callable[[], bool], ranks: Ranks) -> Path:
    # One rank looks, so that all go on from the same place.
    skipped = ranks.first(read_skipped(folder) if ranks.rank == 0 else [])
    data = _data(run, skipped)
    found = ranks.first(_newest(folder, data) if ranks.rank == 0 else None)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    student = _student(run, [*data.texts(), *(corpus or [])]).to(device)
    student.set_trainable(run.stage.trains)
    student.train()
    groups = parameter_groups(student.named_parts(), run.stage)
    watch = _Watch(run, student, data.batches(0)[0].clips[:_DIAGNOSED], device) if ranks.rank == 0 else None
    album = Album(student, data, run.stage.batch_size, folder) if ranks.rank == 0 else None
    if watch is not None and album is not None and found is None:
        show_first_batch(student, data, folder)
        album.draw(0)
        watch.look()
    micro_batch = run.stage.examples_each(ranks.num, run.engine.gradient_accumulation)
    engine = make_engine(student, groups, run.engine, micro_batch)
    start = _resume(engine, found, ranks, run.seed)
    position = Position(start, data.num_steps, ranks.rank, run.seed, device)
    before = read_metrics(folder / METRICS) if ranks.rank == 0 else []
    # What it remembers of the rows is little, whatever the number of steps.
    guard = ranks.first(Guard([row for row in before if row["step"] <= start], len(skipped)))
    writer = _Writer(run, student, engine, folder, position, ranks, watch, album, data.start)

    prepared = LRUCache[str, PreparedClip](_PREPARED_BYTES, getsizeof=lambda one: one.num_bytes)

    def prepare(clip: Clip) -> PreparedClip:
        found = prepared.get(clip.clip_id)
        if found is None:
            found = student.renderer.prepare(clip)
            if found.num_bytes <= prepared.maxsize:
                prepared[clip.clip_id] = found
        return found

    def collate(batch: Batch, chances: Sequence[torch.Generator]) -> tuple[Any, ...]:
        frames = student.renderer.collate([prepare(clip) for clip in batch.clips], chances)
        return frames, batch.prompts, batch.targets, torch.tensor(batch.weights)

    with writer:
        train(
            run.stage,
            data,
            engine,
            collate,
            position,
            run.engine.gradient_accumulation,
            writer.log,
            writer.save,
            run.engine.checkpoint_every,
            guard,
            Meter(student),
            stop,
        )
    return writer.saved or found[0]  # pyright: ignore[reportOptionalSubscript]  the last step is always saved


def _newest(folder: Path, data: StageData) -> tuple[Path, CheckpointMeta] | None:
    """The checkpoint to go on from: none that has learned from what is skipped now."""
    return checkpoint.newest(folder / CHECKPOINTS, lambda meta: data.stands(meta.step, meta.next_example))


def _data(run: RunConfig, skipped: Sequence[Skipped]) -> StageData:
    data = StageData(run.clips, run.examples, run.stage, run.seed)
    data.skip(start for one in skipped for start in one.starts)
    return data


def _write_skipped(run: RunConfig, folder: Path, steps: Sequence[int], why: str, ranks: Ranks) -> None:
    """Write down, on one rank, that these steps' examples are skipped, from the newest checkpoint before them on."""
    failure = ""
    if ranks.rank == 0:
        data = _data(run, read_skipped(folder))
        starts = tuple(data.start(step - 1) for step in steps)
        data.skip(starts)
        found = _newest(folder, data)
        back_to = found[1].step if found is not None else 0
        logger.warning(
            "step %d: %s; back to step %d, without the examples %d to %d of the run's order",
            *(steps[-1], why, back_to, starts[0], starts[-1] + run.stage.batch_size - 1),
        )
        try:
            skip(folder, Skipped(back_to, tuple(steps), starts, why), run.stage.name)
        except ConfigError as error:  # the other ranks must hear of it
            failure = str(error)
    failure = ranks.told(failure)[0]  # all hear it before the first process ends
    if failure:
        raise ConfigError(failure)


def _student(run: RunConfig, corpus: list[str]) -> SkeletonLLM:
    if run.init_from is not None:
        return SkeletonLLM.from_pretrained(Path(run.init_from.path))
    return SkeletonLLM.build(run.student, corpus=corpus, seed=run.seed)


def _resume(engine: Engine, found: tuple[Path, CheckpointMeta] | None, ranks: Ranks, seed: int) -> int:
    """Take up a checkpoint, if there is one; the step to go on from."""
    if found is None:
        seed_all(seed, 0, ranks.rank)
        return 0
    path, meta = found
    engine.load_state(checkpoint.state_files(path))
    if meta.world_size == ranks.num:
        load_random_state(checkpoint.random_file(path, ranks.rank))
    else:
        logger.info("%s: saved by %d workers, taken up by %d: dropout differs", path, meta.world_size, ranks.num)
        seed_all(seed, meta.step, ranks.rank)
    logger.info("going on from step %d of %d (%s)", meta.step, meta.num_steps, path)
    return meta.step


class _Watch:
    """Tells how much the renderer shows of motion, depth and parts, and how far training has moved it.

    Made before a checkpoint is taken up, so that it knows the weights that the stage began with.
    """

    def __init__(self, run: RunConfig, student: SkeletonLLM, clips: Sequence[Clip], device: torch.device) -> None:
        self._renderer = student.renderer
        self._trains = "renderer" in run.stage.trains
        self._stage, self._rate = run.stage.name, run.stage.learning_rates.renderer
        self._batch = student.renderer.collate(clips).to(device)
        self._start = self._weights()

    def look(self) -> dict[str, float]:
        """One line of the log, a warning where nobody could see motion, and the numbers for `metrics.jsonl`."""
        found = diagnose(self._renderer, self._batch)
        moved = self._moved()
        logger.info("%s%s", found.text(), f"; weights moved by {100 * moved:.1f} %" if self._trains else "")
        if self._trains and not found.shows_motion:
            logger.warning(
                "motion cannot be seen in the frames: raise stages.%s.learning_rates.renderer (it is %g), or begin with "
                "student.render.start=designed",
                *(self._stage, self._rate),
            )
        return {**found.numbers(), **({"renderer/moved": moved} if self._trains else {})}

    def _weights(self) -> torch.Tensor:
        weights = [weight.detach().flatten() for weight in self._renderer.parameters()]
        return torch.cat(weights).clone() if weights else torch.zeros(1)

    def _moved(self) -> float:
        """Share of their length by which the weights differ from those at the start of the stage."""
        return float((self._weights() - self._start).norm() / self._start.norm().clamp_min(1e-9))


class _Writer:
    """Logs each step on rank 0, saves on all ranks."""

    def __init__(
        self,
        run: RunConfig,
        student: SkeletonLLM,
        engine: Engine,
        folder: Path,
        position: Position,
        ranks: Ranks,
        watch: _Watch | None,
        album: Album | None,
        place_of: Callable[[int], int],
    ) -> None:
        self._run, self._student, self._engine, self._watch = run, student, engine, watch
        self._album, self._place_of = album, place_of
        self._before = student.about
        self._folder, self._position, self._ranks = folder, position, ranks
        self.saved: Path | None = None
        self._metrics = MetricsFile(folder / METRICS, position.step) if position.rank == 0 else None
        board = run.engine.tensorboard and position.rank == 0
        self._board = TensorBoard(folder / "tensorboard", position.step) if board else None
        self._last: dict[str, int | float] = {}
        self._started = time.monotonic()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def log(self, numbers: Mapping[str, int | float]) -> None:
        """One line of `metrics.jsonl`; now and then with what the renderer shows after this step."""
        looked = self._watch is not None and self._position.is_looked_at(int(numbers["step"]))
        self._last = {**numbers, **(self._watch.look() if self._watch is not None and looked else {})}
        if self._metrics is not None:
            passed = time.monotonic() - self._started
            self._metrics({**self._last, "num_steps": self._position.num_steps, "time_s": passed})
        if self._board is not None:
            self._board(self._last)
        if self._album is not None:
            self._album.draw(int(numbers["step"]), int(numbers["step"]) == self._position.num_steps)

    def save(self, step: int) -> None:
        """One checkpoint."""
        fingerprint, num_steps = fingerprint_of(self._run), self._position.num_steps
        self._student.about = about_run(self._before, self._run, fingerprint, step, num_steps)
        kept = {
            name: value
            for name, value in self._last.items()
            if name.startswith(("train/", "renderer/")) and math.isfinite(value)
        }
        meta = CheckpointMeta(
            format_version=FORMAT_VERSION,
            step=step,
            num_steps=num_steps,
            next_example=self._place_of(step),
            stage=self._run.stage.name,
            fingerprint=fingerprint,
            world_size=self._ranks.num,
            files={},
            metrics=kept,
        )
        engine = self._run.engine
        self.saved = checkpoint.save(
            self._folder / CHECKPOINTS,
            meta,
            self._save_student,
            self._engine.save_state,
            save_random_state,
            self._ranks,
            Kept(engine.keep_last, engine.keep_best, engine.best_by, engine.best_is),
        )

    def _save_student(self, folder: Path) -> None:
        student = self._student
        if student.whole or student.config.backbone.name == TINY:
            weights = list(student.parameters())
        else:
            weights = [weight for part in student.named_parts().values() for weight in part.values()]
        with self._engine.whole(weights):
            if self._ranks.rank == 0:
                student.save_pretrained(folder)
