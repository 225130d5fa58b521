from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines import assemble
from pipelines.teacher.kinematic import write_chain
from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import canonical_json, to_plain
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import CHAINS, PAIRS
from tests.makers import performed_clips, write_clips, write_dataset
from tests.prompt_files import edited

TRAIN, TEST = "P001", "P002"
ACTIONS = ("kick", "wave")
PROTOCOL = to_plain(Protocol("subject", (TEST,)))


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path, performed_clips(ACTIONS, (TRAIN, TEST)))


def examples(root, clips, *kinds, pairs=None, chains=None):
    config = assemble.AssembleConfig("s", kinds, ACTIONS, PROTOCOL)
    return ShardReader(assemble.run(clips, pairs, chains, config, root)).table().to_pylist()


def test_only_clips_of_the_training_split_are_asked_about(tmp_path, clips):
    rows = examples(tmp_path, clips, "mqa", "caption")
    assert {row["clip_id"] for row in rows} == {f"{TRAIN}-{action}" for action in ACTIONS}
    assert {row["target"] for row in rows if row["example_id"].startswith("mqa/")} == set(ACTIONS)
    assert len({row["example_id"] for row in rows}) == len(rows)


def test_a_confusable_partner_gives_a_yes_and_a_no(tmp_path, clips):
    pair = {"action": "wave", "confused_with": "kick", "score": 0.5, "evidence": "kinematics"}
    pairs = write_dataset(tmp_path, "pairs", pa.Table.from_pylist([pair], schema=PAIRS))
    rows = [(row["clip_id"], row["target"], row["prompt"]) for row in examples(tmp_path, clips, "yes_no", pairs=pairs)]
    assert rows == [
        (f"{TRAIN}-kick", "yes", "Is the action kick? Say yes or no."),
        (f"{TRAIN}-wave", "yes", "Is the action wave? Say yes or no."),
        (f"{TRAIN}-wave", "no", "Is the action kick? Say yes or no."),
    ]


def test_only_accepted_chains_are_learned_and_no_prompt_holds_the_label(tmp_path, clips):
    rows = []
    for clip, verdict in zip(
        performed_clips(ACTIONS, (TRAIN, TEST)), ("accepted", "rejected", "accepted", "accepted"), strict=True
    ):
        chain = replace(verify_chain(write_chain(clip, clip.action or ""), clip), verdict=verdict)
        row = {"clip_id": clip.clip_id, "action": clip.action, "verdict": verdict, "teacher": "t", "request_key": ""}
        rows.append({**row, "chain": canonical_json(chain.to_dict())})
    chains = write_dataset(tmp_path, "chains", pa.Table.from_pylist(rows, schema=CHAINS))
    (example,) = examples(tmp_path, clips, "chain", chains=chains)
    assert example["clip_id"] == f"{TRAIN}-kick"
    assert example["target"].endswith("Label: kick")
    assert "kick" not in example["prompt"]
    assert "kick" not in example["target"].removesuffix("Label: kick")


def test_what_a_stage_needs_and_does_not_get_is_an_error(tmp_path, clips):
    with pytest.raises(ConfigError, match="stage s: examples of kind 'chain' need a data set"):
        examples(tmp_path, clips, "chain")
    with pytest.raises(ConfigError, match="'riddle' are unknown"):
        examples(tmp_path, clips, "riddle")


def test_a_training_split_without_clips_is_an_error_and_publishes_nothing(tmp_path, clips):
    everybody = to_plain(Protocol("subject", (TRAIN, TEST)))
    with pytest.raises(DataError, match="no example for stage s"):
        assemble.run(clips, None, None, assemble.AssembleConfig("s", ("mqa",), ACTIONS, everybody), tmp_path)
    assert not list(tmp_path.glob("examples_s/*/manifest.json"))


def test_another_prompt_remakes_the_examples_of_its_kind_and_no_others(tmp_path, clips):
    def fingerprints() -> dict[str, str]:
        configs = {kind: assemble.AssembleConfig(kind, (kind,), ACTIONS, PROTOCOL) for kind in ("mqa", "caption")}
        return {kind: assemble.run(clips, None, None, c, tmp_path).fingerprint for kind, c in configs.items()}

    before = fingerprints()
    with edited(tmp_path, "mqa"):
        after = fingerprints()
    assert [kind for kind in before if before[kind] != after[kind]] == ["mqa"]
