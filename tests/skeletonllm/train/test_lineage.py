from skeletonllm.model.about import About, DataFacts, StageFacts
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef
from skeletonllm.train.config import EngineConfig, RunConfig, StageConfig
from skeletonllm.train.lineage import about_run
from tests.makers import make_clip, write_clips
from tests.students import tiny_student


def make_run(clips: DatasetRef, examples: DatasetRef, name: str = "warmup") -> RunConfig:
    stage = StageConfig(name, ("renderer", "projector"), ("mqa",))
    before = CheckpointRef("before", "gone", "b" * 64)
    return RunConfig(stage, tiny_student().config, EngineConfig(), clips, examples, before, seed=3)


def test_a_checkpoint_names_its_data_and_every_stage_before_it(tmp_path):
    clips = write_clips(tmp_path, [make_clip("a"), make_clip("b")])
    gone = DatasetRef("examples", str(tmp_path / "gone"), "e" * 64)
    first = about_run(About(revision="r"), make_run(clips, gone), "f" * 64, 4, 8)
    assert first.data == (
        DataFacts("clips", clips.fingerprint, 2, (), first.data[0].code_version),
        DataFacts("examples", "e" * 64),
    )
    assert first.stages == (
        StageFacts(
            *("warmup", "f" * 64, ("renderer", "projector"), ("mqa",), 4, 8, 3, clips.fingerprint, "e" * 64),
            first.stages[0].code_version,
        ),
    )
    second = about_run(first, make_run(clips, gone, "second"), "0" * 64, 8, 8)
    assert [stage.name for stage in second.stages] == ["warmup", "second"]
    assert [one.name for one in second.data] == ["clips", "examples"]
    assert second.revision == "r"


def test_the_split_and_the_labels_are_those_of_the_examples(tmp_path, monkeypatch):
    from skeletonllm.train import lineage

    clips = write_clips(tmp_path, [make_clip("a")])
    protocol = {"field": "subject", "test": ["P001", "P002"], "cross_format": ["bvh"]}
    manifest = lineage.read_manifest(clips.path)
    manifest.config.update(protocol=protocol, actions=["bow", "wave"])
    monkeypatch.setattr(lineage, "read_manifest", lambda _: manifest)
    about = about_run(About(), make_run(clips, clips), "f" * 64, 1, 1)
    assert about.split == "subject=P001,P002, never bvh"
    assert about.actions == ("bow", "wave")
