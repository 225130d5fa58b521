"""What a server answers, and what data sets say, is data: it is not run, names no file, and gives no orders."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import teach
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import to_plain
from skeletonllm.reasoning.prompts import teacher_messages
from skeletonllm.shards.reader import ShardReader
from tests.fake_teacher import CHAIN, FakeTeacher
from tests.makers import performed_clips, write_clips

PLACES = ("../../../tmp/owned", "/etc/owned", "~/owned", "file:///owned", "C:\\owned")
CODE = (
    "__import__('os').system('touch owned')",
    "{{ ''.__class__.__mro__ }} ${jndi:ldap://x} %n%s {0.__globals__}",
    "<script>fetch('http://127.0.0.1/owned')</script>",
    "'; DROP TABLE reply; --",
    "$(touch owned) `touch owned` | touch owned",
)


@pytest.fixture(autouse=True)
def teacher(monkeypatch, tmp_path):
    """Stands in a folder of its own, so that what is written beside it is seen; names the server."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def name(url: str) -> None:
        for variable, value in (("SKELETONLLM_TEACHER_MODEL", "fake"), ("OPENAI_BASE_URL", url)):
            monkeypatch.setenv(variable, value)

    return name


def files(folder) -> set[str]:
    return {os.path.relpath(os.path.join(place, name), folder) for place, _, names in os.walk(folder) for name in names}


@pytest.mark.parametrize("text", [*PLACES, *CODE])
def test_a_reply_is_data_wherever_it_puts_its_orders(tmp_path, teacher, text):
    step = {**CHAIN["steps"][0], "text": text}
    reply = {"summary": text, "steps": [step], "answer": text, "clip_id": text, "request_key": text, text: text}
    clips = write_clips(tmp_path / "work", performed_clips())
    with FakeTeacher(answer=lambda _: json.dumps(reply)) as fake:
        teacher(fake.url)
        config = teach.configure(("kick", "wave"), to_plain(Protocol("subject", ("P002",))))
        made = ShardReader(teach.run(clips, None, config, tmp_path / "work", tmp_path / "work" / "ledger.sqlite"))
    assert not os.path.lexists("/tmp/owned")
    assert not os.path.lexists("/etc/owned")
    assert not [name for name in files(tmp_path) if "owned" in name]
    assert not files(tmp_path / "here")
    told = {row["clip_id"] for row in made.table().to_pylist()} | {row["place"] for row in made.rejected()}
    assert told == {"P001-kick", "P001-wave"}  # by our own names, whatever the reply says
    for row in made.table().to_pylist():
        assert row["verdict"] == "rejected"
        assert json.loads(row["chain"])["clip_id"] == row["clip_id"]


@given(clip_id=st.text(), action=st.text())
def test_no_label_or_name_leaves_its_place_in_the_prompt(clip_id, action):
    text = teacher_messages(clip_id, action, 10, [], [])[1]["content"][0]["text"]
    assert text.count("<data>") == text.count("</data>") == 1
    (line,) = re.findall(r"^<data>(.*)</data>$", text, re.MULTILINE)
    data = json.loads(line)
    assert (data["clip"], data["label"]) == (clip_id, action)
    assert line.isascii()
    around = text.replace(line, "")
    assert around == teacher_messages("a", "b", 10, [], [])[1]["content"][0]["text"].replace(
        json.dumps({"clip": "a", "label": "b", "num_frames": 10}), ""
    )
