"""A student's predictions, the clips' motion, a teacher's judgement -> confusable pairs."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.tasks import DEFAULT_WORKDIR, Choices, ExecutorName, Workdir, choose, pipeline_task, show_dataset
from pipelines import assemble, mine, motion, predict, similar
from pipelines.launch import newest_checkpoint
from pipelines.split import protocol_of
from skeletonllm.mining.merge import EVIDENCE_KINDS, EvidenceKind
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef
from skeletonllm.shards.reader import ShardReader


@pipeline_task("predict on the training clips", retries=1)
def predict_training(
    workdir: Workdir, clips: DatasetRef, checkpoint: CheckpointRef, choices: Choices, executor: ExecutorName
) -> DatasetRef:
    """Ask the student about its own training clips."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    actions = assemble.training_actions(clips, protocol)
    config = predict.PredictConfig(("train",), actions, to_plain(protocol))
    return predict.run(clips, checkpoint, config, workdir.data, executor, name="training_predictions")


@pipeline_task("measure the motion of the training clips", retries=1)
def measure_motion(workdir: Workdir, clips: DatasetRef, choices: Choices, executor: ExecutorName) -> DatasetRef:
    """What the joints of the training clips do, in numbers."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    config = motion.MotionConfig(assemble.training_actions(clips, protocol), to_plain(protocol))
    return motion.run(clips, config, workdir.data, executor)


@pipeline_task("ask the teacher for similar actions", retries=1)
def ask_similar(workdir: Workdir, clips: DatasetRef, choices: Choices) -> DatasetRef:
    """Which of the training actions the teacher holds for alike, by their names."""
    actions = assemble.training_actions(clips, protocol_of(clips, choices.hold_out, choices.cross_format))
    config = similar.configure(actions)
    with similar.teacher(config, workdir.ledger) as ask:
        named = similar.run(config, workdir.data, ask)
    show_dataset(named)
    return named


@pipeline_task("mine pairs")
def merge_pairs(
    workdir: Workdir, evidence: dict[EvidenceKind, DatasetRef], clips: DatasetRef, choices: Choices
) -> DatasetRef:
    """Which actions are taken for one another, by all the evidence there is."""
    actions = assemble.training_actions(clips, protocol_of(clips, choices.hold_out, choices.cross_format))
    student, kinematics, teacher = (evidence.get(kind) for kind in EVIDENCE_KINDS)
    pairs = mine.run(mine.MineConfig(actions), workdir.data, student, kinematics, teacher)
    show_dataset(pairs)
    create_table_artifact(key="confusable-pairs", table=ShardReader(pairs).table().to_pylist())
    return pairs


@flow(name="mine-pairs")
def mine_pairs(
    workdir: str = DEFAULT_WORKDIR,
    recipe: str | None = None,
    hold_out: str | None = None,
    cross_format: list[str] | None = None,
    clips: DatasetRef | None = None,
    checkpoint: CheckpointRef | None = None,
    executor: ExecutorName = "ray",
    evidence: list[EvidenceKind] | None = None,
) -> DatasetRef:
    """Mine confusable pairs by up to three kinds of evidence: `student`, `kinematics`, `teacher`.

    The student is that of the first stage, or of the given checkpoint. By default student and kinematics speak, and the
    teacher if the environment names one.
    """
    work = Workdir(Path(workdir))
    choices = choose(work, recipe, hold_out, cross_format)
    kinds = mine.kinds_of(evidence)
    clips = clips or work.newest("clips")
    found: dict[EvidenceKind, DatasetRef] = {}
    if "student" in kinds:
        checkpoint = checkpoint or newest_checkpoint(work.runs, choices.recipe.stages[0].name)
        found["student"] = predict_training(work, clips, checkpoint, choices, executor)
    if "kinematics" in kinds:
        found["kinematics"] = measure_motion(work, clips, choices, executor)
    if "teacher" in kinds:
        found["teacher"] = ask_similar(work, clips, choices)
    return merge_pairs(work, found, clips, choices)
