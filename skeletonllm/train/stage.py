"""One stage of training on one rank: the student, its data and engine put together, resumed and run."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from skeletonllm.model.student import SkeletonLLM
from skeletonllm.plain import digest, to_plain
from skeletonllm.render.diagnosis import diagnose
from skeletonllm.render.picture import save_picture
from skeletonllm.skeleton.clip import Clip
from skeletonllm.train import checkpoint
from skeletonllm.train.checkpoint import ENGINE, FORMAT_VERSION, CheckpointMeta
from skeletonllm.train.config import RunConfig
from skeletonllm.train.data import Batch, StageData
from skeletonllm.train.engine import Engine, init_distributed, make_engine, parameter_groups
from skeletonllm.train.loop import MetricsFile, Position, train

logger = logging.getLogger(__name__)

VERSION = 2
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
# Prepared clips that a rank keeps from step to step, at about 100 kB each.
_MAX_PREPARED = 8192
# Clips whose Gaussians are asked how they react to motion.
_DIAGNOSED = 4


def fingerprint_of(run: RunConfig) -> str:
    """The name of what a run makes: a hash of all that its weights depend on; not of paths, or how often it saves."""
    plain = to_plain(run)
    plain["engine"].pop("checkpoint_every")
    for dataset in ("clips", "examples", "init_from"):
        plain[dataset] = plain[dataset] and plain[dataset]["fingerprint"]
    return digest({"pipeline": "train", "version": VERSION, "run": plain})


def run_stage(run: RunConfig, folder: Path, corpus: list[str] | None = None) -> Path:
    """Train one stage on this rank, going on from the newest whole checkpoint in `folder`.

    Args:
        run: all that the result depends on.
        folder: of the run; holds `metrics.jsonl`, `checkpoints/` and the pictures of the first batch.
        corpus: texts that a tokenizer made on the spot must know besides the examples.

    Returns:
        The folder of the last checkpoint.
    """
    rank, world_size = init_distributed() if run.engine.kind == "deepspeed" else (0, 1)
    data = StageData(run.clips, run.examples, run.stage.batch_size, run.seed)
    num_steps = data.num_steps(run.stage.epochs, run.stage.max_steps)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    student = _student(run, [*data.texts(), *(corpus or [])]).to(device)
    student.set_trainable(run.stage.trains)
    student.train()
    groups = parameter_groups(student.named_parts(), run.stage)
    micro_batch = run.stage.batch_size // (world_size * run.engine.gradient_accumulation)
    engine = make_engine(student, groups, run.engine, micro_batch)
    start = _resume(engine, folder, world_size)
    if rank == 0 and start == 0:
        _show_first_batch(student, data, folder)
    writer = _Writer(run, student, engine, folder, start, num_steps, rank, data.batches(0)[0].clips[:_DIAGNOSED])
    if start == 0:
        writer.diagnose()

    prepared: dict[str, Any] = {}

    def prepare(clip: Clip) -> Any:
        if len(prepared) >= _MAX_PREPARED:
            prepared.clear()
        if clip.clip_id not in prepared:
            prepared[clip.clip_id] = student.renderer.prepare(clip)
        return prepared[clip.clip_id]

    def collate(batch: Batch, generator: torch.Generator) -> tuple[Any, ...]:
        frames = student.renderer.collate([prepare(clip) for clip in batch.clips], generator=generator).to(device)
        return frames, batch.prompts, batch.targets, torch.tensor(batch.weights, device=device)

    train(
        run.stage,
        data,
        engine,
        collate,
        Position(start, num_steps, rank, run.seed),
        run.engine.gradient_accumulation,
        writer.log,
        writer.save,
        run.engine.checkpoint_every,
    )
    return folder / CHECKPOINTS / f"step_{num_steps:06d}"


def _student(run: RunConfig, corpus: list[str]) -> SkeletonLLM:
    if run.init_from is not None:
        return SkeletonLLM.from_pretrained(Path(run.init_from.path))
    return SkeletonLLM.build(run.student, corpus=corpus, seed=run.seed)


def _resume(engine: Engine, folder: Path, world_size: int) -> int:
    found = checkpoint.newest(folder / CHECKPOINTS)
    if found is None:
        return 0
    path, meta = found
    if meta.world_size != world_size:
        logger.warning("%s was saved by %d workers, not %d: the stage starts anew", path, meta.world_size, world_size)
        return 0
    engine.load_state(path / ENGINE)
    logger.info("going on from step %d of %d (%s)", meta.step, meta.num_steps, path)
    return meta.step


def _show_first_batch(student: SkeletonLLM, data: StageData, folder: Path) -> None:
    """What the model is about to see, before the first step: most mistakes are visible here."""
    (batch, *_) = data.batches(0)
    device = next(student.parameters()).device
    with torch.inference_mode():
        frames = student.renderer(student.renderer.collate(batch.clips[:4]).to(device))
    folder.mkdir(parents=True, exist_ok=True)
    for place, clip_frames in enumerate(frames):
        save_picture(clip_frames.cpu(), folder / f"first_batch_{place}.png", fps=8)
    lines = [f"{p}\n=> {t}\n" for p, t in zip(batch.prompts[:4], batch.targets[:4], strict=True)]
    (folder / "first_batch.txt").write_text("\n".join(lines))


class _Writer:
    """Logs each step on rank 0, saves on all ranks."""

    def __init__(
        self,
        run: RunConfig,
        student: SkeletonLLM,
        engine: Engine,
        folder: Path,
        start: int,
        num_steps: int,
        rank: int,
        clips: Sequence[Clip],
    ) -> None:
        self._run, self._student, self._engine, self._rank = run, student, engine, rank
        self._folder, self._num_steps = folder, num_steps
        self._metrics = MetricsFile(folder / METRICS, start) if rank == 0 else None
        self._last: dict[str, int | float] = {}
        self._started = time.monotonic()
        device = next(student.parameters()).device
        self._shown: dict[str, float] = {}
        self._diagnosed = student.renderer.collate(clips).to(device) if rank == 0 else None

    def diagnose(self) -> None:
        """How much the renderer shows of motion, depth and parts: a line of the log, and numbers beside those of a step."""
        if self._diagnosed is None:
            return
        found = diagnose(self._student.renderer, self._diagnosed)
        logger.info("%s", found.text())
        if "renderer" in self._run.stage.trains and not found.shows_motion:
            logger.warning("motion cannot be seen in the frames: raise the renderer's learning rate")
        self._shown = found.numbers()

    def log(self, numbers: Mapping[str, int | float]) -> None:
        """One line of `metrics.jsonl`."""
        self._last = dict(numbers)
        if self._metrics is not None:
            self._metrics(
                {**numbers, **self._shown, "num_steps": self._num_steps, "time_s": time.monotonic() - self._started}
            )

    def save(self, step: int) -> None:
        """One checkpoint, and what the renderer shows by now."""
        self.diagnose()
        meta = CheckpointMeta(
            format_version=FORMAT_VERSION,
            step=step,
            num_steps=self._num_steps,
            stage=self._run.stage.name,
            fingerprint=fingerprint_of(self._run),
            world_size=self._engine.world_size,
            files={},
            metrics={**{name: value for name, value in self._last.items() if name.startswith("train/")}, **self._shown},
        )
        barrier = dist.barrier if dist.is_initialized() and self._engine.world_size > 1 else (lambda: None)
        checkpoint.save(
            self._folder / CHECKPOINTS,
            meta,
            self._student.save_pretrained,
            self._engine.save_state,
            self._rank,
            barrier,
        )
