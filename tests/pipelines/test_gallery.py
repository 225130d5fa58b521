import json
from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines import gallery, teach
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import CHAINS
from tests.makers import performed_clips, write_clips, write_dataset
from tests.students import tiny_student

ACTIONS = ("bow", "kick", "wave")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"), performed_clips(ACTIONS, ("P001", "P002", "P003")))


@pytest.fixture(scope="module")
def chains(clips, tmp_path_factory):
    root = tmp_path_factory.mktemp("chains")
    config = teach.TeachConfig(ACTIONS, to_plain(Protocol("subject", ("P003",))))
    return teach.run(clips, None, config, root, root / "ledger")


def test_the_page_lies_beside_the_chains_and_is_written_once(chains, clips):
    path = gallery.write_page(chains, clips, None, [("held out", "subject")])
    text = path.read_text()
    assert path.parent == gallery.Path(chains.path)
    assert text.count("data:image/webp;base64,") == 6
    assert "The teacher is <b>the offline kinematic one</b>" in text
    assert "100.0 %" in text
    written = path.stat().st_mtime_ns
    assert gallery.write_page(chains, clips).stat().st_mtime_ns == written


def test_the_pictures_are_those_of_the_checkpoint_that_is_named(chains, clips, tmp_path):
    tiny_student().save_pretrained(tmp_path / "student")
    checkpoint = CheckpointRef("disc_ft", str(tmp_path / "student"), "c" * 64)
    (learned,), (start,) = (gallery.collect(chains, clips, one, num_shown=1).chains for one in (checkpoint, None))
    assert learned.strip != start.strip
    assert learned.frames == start.frames
    assert len(learned.frames) == 10
    assert 0 <= learned.frames[0] < learned.frames[-1] < learned.num_frames


def test_the_markdown_has_tables_and_pictures_and_escapes_what_comes_from_data(chains, clips):
    page = gallery.collect(chains, clips, facts=[("key|<b>", "*x*")], num_shown=2)
    text = gallery.markdown_of(page)
    assert "| bow | 2 | 0 | 0 |" in text
    assert text.count("](data:image/webp;base64,") == 2
    assert r"| key\|\<b\> | \*x\* |" in text
    assert "the offline kinematic one" in text


def test_what_became_of_each_action_is_counted_and_reasons_are_put_together(chains, clips, tmp_path):
    rows = ShardReader(chains).table().to_pylist()
    for number, row in enumerate(rows[:2]):
        chain = {
            **json.loads(row["chain"]),
            "reasons": [f"step {number} (left wrist raises): it changes by -0.{number}"],
        }
        row.update(verdict="rejected", chain=json.dumps(chain))
    page = gallery.collect(
        write_dataset(tmp_path, "chains", pa.Table.from_pylist(rows, schema=CHAINS)), clips, num_shown=1
    )
    assert page.reasons == (("(left wrist raises): it changes by …", 2),)
    assert page.total == replace(page.total, accepted=4, rejected=2, without=0)
    assert {one.action for one in page.actions} == set(ACTIONS)


def test_every_action_is_shown_before_any_twice_and_rejected_ones_are_among_them():
    rows = [
        {"clip_id": f"{action}{n}", "action": action, "verdict": "rejected" if n == 0 else "accepted"}
        for action in ACTIONS
        for n in range(5)
    ]
    shown = gallery.pick_chains(rows, 8)
    assert [row["verdict"] for row in shown] == ["accepted"] * 6 + ["rejected"] * 2
    assert {row["action"] for row in shown[:3]} == set(ACTIONS)
    assert len(gallery.pick_chains(rows[:5], 8)) == 5
    assert not gallery.pick_chains([], 8)
