import json
from dataclasses import replace

import pytest

from pipelines import staircase, train_plan
from pipelines.assemble import AssembleConfig, run
from pipelines.staircase import alone, climb
from skeletonllm.errors import ConfigError
from skeletonllm.shards.manifest import read_manifest
from skeletonllm.train.data import StageData
from skeletonllm.train.stage import fingerprint_of
from tests.pipelines.stairs import ACTIONS, NO_CHAINS, PAIR, SMOKE, finish, work_with_clips, write_made


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in ("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return work_with_clips(tmp_path)


def states(plan):
    return {stage.name: stage.state for stage in plan.stages}


def train_all(work, clips, choices=SMOKE, **stage_changes):
    """As if every stage had been trained; with other settings, where some are given."""
    for step in climb(work, choices, clips):
        finish(work, replace(step.run, stage=replace(step.run.stage, **stage_changes)))


def test_nothing_is_there_then_everything_and_the_plan_writes_nothing(here):
    work, clips = here
    before = sorted(work.path.rglob("*"))
    plan = train_plan.plan(work, SMOKE, clips)
    assert sorted(work.path.rglob("*")) == before
    assert set(states(plan).values()) == {"to do"}
    assert list(states(plan)) == ["render_warmup", "disc_ft", "cr_distill", "recognition", "fixed_renderer"]
    assert plan.teacher is not None
    assert plan.teacher.num_clips == len(ACTIONS)
    train_all(work, clips)
    assert set(states(train_plan.plan(work, SMOKE, clips)).values()) == {"done"}


def test_what_changed_is_said_of_each_stage_with_both_values(here):
    work, clips = here
    first, *_ = climb(work, SMOKE, clips)
    rates = replace(first.run.stage.learning_rates, renderer=2e-3)
    finish(work, replace(first.run, stage=replace(first.run.stage, learning_rates=rates)))
    stage, *_ = train_plan.plan(work, SMOKE, clips).stages
    assert stage.state == "stale"
    assert stage.why == ("learning_rates.renderer 0.002 -> 0.03",)


def test_a_stage_is_stale_where_the_one_before_is_trained_otherwise(here):
    work, clips = here
    train_all(work, clips)
    plan = train_plan.plan(work, replace(SMOKE, seed=1), clips)
    assert set(states(plan).values()) == {"stale"}
    assert plan.stages[0].why == ("seed 0 -> 1",)
    assert "weights of render_warmup changed" in plan.stages[1].why
    fixed = plan.stages[-1]
    assert fixed.why == ("seed 0 -> 1",)


def test_examples_are_stale_because_chains_are_of_another_teacher(here, monkeypatch):
    work, clips = here
    steps = climb(work, SMOKE, clips)
    for step in steps:
        finish(work, step.run)
    third = steps[2]
    write_made(work, "chains", NO_CHAINS, third)
    write_made(work, "examples_cr_distill", PAIR, third)
    monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "gpt-4o")
    monkeypatch.setenv("OPENAI_API_KEY", "hush")
    first, second, stage, *_ = (
        train_plan._Looker(work, now, [], False).look(step) for now in [climb(work, SMOKE, clips)] for step in now
    )
    assert first.state == "done"
    assert second.state == "stale"  # this teacher is also asked which actions are alike
    (why,) = (reason for reason in stage.why if reason.startswith("examples_cr_distill"))
    assert "teacher kinematic -> openai" in why
    assert "model nothing -> gpt-4o" in why


def test_how_often_it_saves_or_on_how_many_ranks_is_no_reason(here):
    work, clips = here
    (first, *_) = climb(work, SMOKE, clips)
    other = replace(first.run, engine=replace(first.run.engine, checkpoint_every=7))
    assert fingerprint_of(other) == first.fingerprint
    finish(work, replace(other, seed=5))
    stage, *_ = train_plan.plan(work, SMOKE, clips).stages
    assert stage.why == ("seed 5 -> 0",)


def test_a_run_that_was_cut_goes_on(here):
    work, clips = here
    (first, *_) = climb(work, SMOKE, clips)
    folder = work.runs / "render_warmup" / first.fingerprint[:12]
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 2, "num_steps": 4}) + "\n")
    stage, *_ = train_plan.plan(work, SMOKE, clips).stages
    assert (stage.state, stage.why) == ("begun", ("step 2 of 4 was taken",))


def test_the_steps_are_those_that_training_takes_and_tokens_are_counted(here, tmp_path):
    work, clips = here
    quickstart = replace(SMOKE, recipe_name="quickstart")
    (stage, *_) = train_plan.plan(work, quickstart, clips).stages
    (step, *_) = climb(work, quickstart, clips)
    examples = run(clips, None, None, step.config, tmp_path / "else")
    config = step.run.stage
    assert stage.steps == StageData(clips, examples, config, 0).num_steps
    assert stage.examples == {"mqa": read_manifest(examples.path).num_rows}
    assert stage.visual_tokens == 8 * 4
    assert stage.tokens_an_epoch == pytest.approx(2 * (stage.visual_tokens + stage.text_tokens))


def test_examples_that_need_what_is_not_there_are_told_from_above(here):
    work, clips = here
    plan = train_plan.plan(work, SMOKE, clips)
    by_name = {stage.name: stage for stage in plan.stages}
    assert by_name["disc_ft"].examples == {"yes_no": 4, "mqa": 2}
    assert by_name["disc_ft"].is_most
    assert by_name["cr_distill"].examples == {"chain": 2, "mqa": 2}
    assert by_name["cr_distill"].text_tokens is None
    assert by_name["cr_distill"].notes == ("no text of chain is there yet",)
    assert not by_name["render_warmup"].is_most


def test_a_backbone_that_is_not_here_leaves_unknown_what_depends_on_it(here):
    work, clips = here
    plan = train_plan.plan(work, replace(SMOKE, recipe_name="internvl3-8b"), clips)
    assert list(plan.parameters) == ["renderer"]
    assert {stage.memory for stage in plan.stages} == {None}
    assert {stage.visual_tokens for stage in plan.stages} == {None}
    assert plan.stages[3].steps == 3  # two clips, batches of two, three epochs
    assert any("hf download OpenGVLab/InternVL3-8B-hf" in note for note in plan.notes)


def test_a_stage_alone_says_all_that_is_missing_and_how_it_is_made(here):
    work, clips = here
    with pytest.raises(ConfigError) as error:
        alone(work, SMOKE, clips, "cr_distill")
    for said in ("no chains of these clips", "`skeletonllm chains`", "--until disc_ft"):
        assert said in str(error.value)
    with pytest.raises(ConfigError, match="no stage 'warmup'"):
        alone(work, SMOKE, clips, "warmup")
    assert alone(work, SMOKE, clips, "render_warmup").run.init_from is None
    assert alone(work, SMOKE, clips, "fixed_renderer").run.student.render.renderer == "skeleton_2d"


def test_a_stage_alone_takes_pairs_of_this_hold_out_and_the_weights_before(here):
    work, clips = here
    first, second, *_ = climb(work, SMOKE, clips)
    for name in ("training_predictions", "motion"):
        write_made(work, name, NO_CHAINS, second)
    pairs = write_made(work, "pairs", PAIR, second)
    weights = finish(work, first.run)
    run(clips, None, None, first.config, work.data)
    step = alone(work, SMOKE, clips, "disc_ft")
    assert step.pairs == pairs
    assert step.run.init_from == weights
    assert step.fingerprint == second.fingerprint
    with pytest.raises(ConfigError, match="no pairs of these clips and this hold-out"):
        alone(work, replace(SMOKE, hold_out="subject=P001"), clips, "disc_ft")


def test_a_stage_alone_never_starts_from_weights_that_saw_the_test_clips(here):
    work, clips = here
    (first, *_) = climb(work, SMOKE, clips)
    finish(work, first.run)
    run(clips, None, None, first.config, work.data)
    monkey = replace(SMOKE, hold_out="subject=P001")
    recognition = staircase.stage_of(SMOKE.recipe, "recognition")[0]
    assert recognition.examples == ("mqa", "caption", "chain")
    second = next(step for step in climb(work, monkey, clips) if step.run.stage.name == "disc_ft")
    for name in ("training_predictions", "motion"):
        write_made(work, name, NO_CHAINS, second)
    write_made(work, "pairs", PAIR, second)
    with pytest.raises(ConfigError, match="may have trained it"):
        alone(work, monkey, clips, "disc_ft")


def test_what_is_promised_is_what_is_built(here):
    work, clips = here
    (step, *_) = climb(work, SMOKE, clips)
    assert isinstance(step.config, AssembleConfig)
    assert run(clips, None, None, step.config, work.data) == step.run.examples
