import json
from pathlib import Path

import pytest

from pipelines import assemble
from pipelines.split import check_untrained, protocol_of
from skeletonllm.errors import ConfigError
from skeletonllm.plain import to_plain, write_whole
from skeletonllm.shards.manifest import CheckpointRef
from skeletonllm.train.config import EngineConfig, RunConfig, StageConfig
from tests.makers import performed_clips, write_clips
from tests.students import tiny_student

ACTIONS = ("kick", "wave")
STAGE = StageConfig("recognition", ("projector",), ("mqa",))


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path, performed_clips(ACTIONS, ("P001", "P002", "P003")))


def trained_on(root: Path, clips, rule: str) -> CheckpointRef:
    """A checkpoint as far as its run says what it was trained with."""
    config = assemble.AssembleConfig("recognition", ("mqa",), ACTIONS, to_plain(protocol_of(clips, rule, ())))
    examples = assemble.run(clips, None, None, config, root)
    run = RunConfig(STAGE, tiny_student().config, EngineConfig(), clips, examples, None, 0)
    write_whole(root / "run" / "run.json", json.dumps(to_plain(run)))
    return CheckpointRef("recognition", str(root / "run" / "checkpoints" / "step_000001"), "c" * 64)


def test_clips_that_were_held_out_may_test(tmp_path, clips):
    checkpoint = trained_on(tmp_path, clips, "subject=P002,P003")
    check_untrained(clips, protocol_of(clips, "subject=P002,P003", ()), checkpoint)
    check_untrained(clips, protocol_of(clips, "subject=P003", ()), checkpoint)


def test_clips_that_may_have_trained_the_checkpoint_must_not_test_it(tmp_path, clips):
    checkpoint = trained_on(tmp_path, clips, "subject=P002")
    with pytest.raises(ConfigError, match=r"trained with subject=P002 held out.*subject=P001: 2 of these clips"):
        check_untrained(clips, protocol_of(clips, "subject=P001", ()), checkpoint)
