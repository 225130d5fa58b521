from dataclasses import replace

import pytest

from pipelines import compare, predict
from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import to_plain
from skeletonllm.recipes import quickstart
from skeletonllm.shards.manifest import CheckpointRef
from tests.makers import performed_clips, write_clips
from tests.students import ACTIONS, tiny_student


def test_all_variants_have_a_stage_and_a_student_that_can_be_built() -> None:
    recipe = quickstart()
    for variant in compare.pick([]):
        stage, student = compare.configure(recipe, variant, 2.0)
        assert stage.epochs == 2.0
        assert ("renderer" in stage.trains) == variant.learns
        assert student.backbone == recipe.student.backbone
    assert len({to_plain(compare.configure(recipe, v, 1.0)[1]).__repr__() for v in compare.VARIANTS}) == 5


def test_a_variant_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no 'jpg'; there are learned, frozen-start, .*jtm"):
        compare.pick(["jtm", "jpg"])
    assert [variant.name for variant in compare.pick(["jtm", "learned"])] == ["jtm", "learned"]


def run(tmp_path, monkeypatch, test=("P002",)):
    """Two students, asked about the same clips, as two variants of one seed."""
    monkeypatch.setattr(compare, "_speed_color", lambda checkpoint: float(checkpoint.fingerprint[0]))
    clips = write_clips(tmp_path, performed_clips(("bow", "wave")))
    runs = {}
    for seed in (0, 1):
        folder = tmp_path / f"student{seed}"
        tiny_student(seed=seed).save_pretrained(folder)
        checkpoint = CheckpointRef("compare_renderers", str(folder), str(seed) * 64)
        config = predict.PredictConfig(("test",), ACTIONS, to_plain(Protocol("subject", test)))
        runs[f"variant{seed}"] = [(checkpoint, predict.run(clips, checkpoint, config, tmp_path))]
    return runs


def test_results_are_of_each_variant_and_compared_with_the_first(tmp_path, monkeypatch) -> None:
    results = compare.collect(run(tmp_path, monkeypatch))
    assert [result.name for result in results] == ["variant0", "variant1"]
    assert results[0].against is None
    assert results[1].against is not None
    assert results[1].against.mean == pytest.approx(results[1].mean.mean - results[0].mean.mean)
    assert [result.speed_color for result in results] == [0.0, 1.0]
    compare.write_results(tmp_path / "out.json", results, {"epochs": 1.0})
    assert '"epochs": 1.0' in (tmp_path / "out.json").read_text()


def test_without_test_clips_there_is_nothing_to_compare(tmp_path, monkeypatch) -> None:
    with pytest.raises(DataError, match="no test clip was asked about"):
        compare.collect(run(tmp_path, monkeypatch, test=("nobody",)))


def test_the_learned_one_comes_first_so_that_all_others_are_compared_with_it() -> None:
    assert compare.VARIANTS[0].name == "learned"
    assert replace(compare.VARIANTS[0], name="x").learns
