from dataclasses import replace

import pytest

from pipelines import probe, train_plan
from pipelines.staircase import climb
from tests.pipelines.stairs import SMOKE, work_with_clips


@pytest.mark.slow
def test_a_probe_takes_real_steps_and_leaves_nothing_behind(tmp_path, monkeypatch):
    work, clips = work_with_clips(tmp_path / "work")
    monkeypatch.setattr(probe, "NUM_STEPS", 3)
    (first, *_) = climb(work, replace(SMOKE, recipe_name="quickstart"), clips)
    before = sorted(work.path.rglob("*"))
    found = probe.probe(first, ["kick", "wave"], work.path)
    assert 0 < found.step_s < 60
    assert found.around_s > 0
    assert found.hours(7200) == pytest.approx(2 * found.step_s + found.around_s / 3600)
    assert sorted(work.path.rglob("*")) == before


def test_a_stage_whose_chains_are_not_there_is_not_probed_and_says_so(tmp_path, monkeypatch):
    work, clips = work_with_clips(tmp_path)
    monkeypatch.delenv("SKELETONLLM_TEACHER_MODEL", raising=False)
    monkeypatch.setattr(train_plan, "probe", lambda *_: probe.Probe(0.5, 10.0))
    stages = {stage.name: stage for stage in train_plan.plan(work, SMOKE, clips, probes=True).stages}
    assert stages["render_warmup"].hours == pytest.approx((10 + 0.5 * stages["render_warmup"].steps) / 3600)
    assert stages["cr_distill"].hours is None
    assert "not probed: its chains are not there yet" in stages["cr_distill"].notes
