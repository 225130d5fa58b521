import json

import pytest

from pipelines import similar
from pipelines.teacher.request import TeacherReply
from skeletonllm.errors import DataError, TeacherError
from skeletonllm.reasoning.similar import SIMILAR_SCHEMA
from skeletonllm.shards.reader import ShardReader
from tests.fake_teacher import FakeTeacher

ACTIONS = ("bow", "sit down", "wave")
ANSWERS = {"bow": ["Sit Down", "waves", "fly"], "sit down": ["bow"], "wave": ["wave"]}


def asked_about(messages):
    return json.loads(messages[1]["content"].split("<data>")[1].split("</data>")[0])["action"]


def answer(messages):
    named = ANSWERS[asked_about(messages)]
    return json.dumps({"similar": [{"action": name, "reason": f"like {name}"} for name in named]})


class Teacher:
    def __init__(self, fault=None):
        self.asked, self.fault = [], fault

    def __call__(self, request):
        self.asked.append(request)
        if self.fault is not None:
            raise self.fault
        return TeacherReply(request.key, answer(request.messages), "stop", 1, 1, 1, "now")


def config(actions=ACTIONS, **changes):
    return similar.SimilarConfig(actions, **{"model": "m", **changes})


def test_each_action_is_asked_about_once_by_names_alone(tmp_path):
    teacher = Teacher()
    named = similar.run(config(), tmp_path, teacher)
    assert sorted(asked_about(request.messages) for request in teacher.asked) == list(ACTIONS)
    assert all(isinstance(message["content"], str) for request in teacher.asked for message in request.messages)
    assert {request.key for request in teacher.asked} == {request.key for request in similar.requests(config())}
    assert similar.run(config(), tmp_path, teacher) == named
    assert len(teacher.asked) == len(ACTIONS)
    for changed in (config(model="n"), config(count=2), config(base_url="http://localhost/v1")):
        assert similar.run(changed, tmp_path, teacher).fingerprint != named.fingerprint


def test_ranks_reasons_and_what_was_dropped_are_kept(tmp_path):
    reader = ShardReader(similar.run(config(), tmp_path, Teacher()))
    rows = [(row["action"], row["similar"], row["rank"]) for row in reader.table().to_pylist()]
    assert rows == [("bow", "sit down", 1), ("bow", "wave", 2), ("sit down", "bow", 1)]
    assert reader.table().to_pylist()[0]["reason"] == "like Sit Down"
    assert reader.manifest.statistics == {"asked": 3, "named": 3, "unknown": 1}
    (rejected,) = reader.rejected()
    assert rejected["place"] == "wave"
    assert "none of 1 names is another action of the list" in rejected["reason"]


def test_a_teacher_that_refuses_or_says_nothing_usable_leaves_no_data_set(tmp_path):
    with pytest.raises(TeacherError, match="wrong key"):
        similar.run(config(), tmp_path, Teacher(TeacherError("wrong key")))
    with pytest.raises(DataError, match="1 of 1 inputs were rejected"):
        similar.run(config(("wave",)), tmp_path, Teacher())
    assert not list(tmp_path.rglob("manifest.json"))
    assert similar.run(config(), tmp_path, Teacher()).name == "similar"


def test_the_teacher_of_the_settings_is_asked_for_an_answer_of_the_form(tmp_path, monkeypatch):
    with FakeTeacher(answer=lambda body: answer(body["messages"])) as server:
        for name, value in (
            ("SKELETONLLM_TEACHER_MODEL", "m"),
            ("OPENAI_BASE_URL", server.url),
            ("OPENAI_API_KEY", "sk-secret"),
        ):
            monkeypatch.setenv(name, value)
        told = similar.configure(ACTIONS)
        assert (told.model, told.base_url) == ("m", server.url)
        with similar.teacher(told, tmp_path / "ledger.sqlite") as ask:
            named = similar.run(told, tmp_path, ask)
    assert len(ShardReader(named)) == 3
    assert server.count == 3
    assert server.bodies[0]["response_format"]["json_schema"]["schema"] == SIMILAR_SCHEMA
    assert "sk-secret" not in "".join(
        path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()
    )
