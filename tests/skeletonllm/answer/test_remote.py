import base64
import io

import pytest
from PIL import Image

from skeletonllm.answer.address import parse_address
from skeletonllm.answer.remote import RemoteModel, named_label
from skeletonllm.errors import DataError, ServerError
from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from tests.fake_model import FakeModel, pictures_of, text_of
from tests.makers import performed_clips

CLIPS = performed_clips(("bow", "wave"))
LABELS = ["wave", "bow", "wave both hands"]
RENDERER = build_renderer(RenderConfig(size_px=32, num_frames=3, gaussians_per_bone=1)).eval()


def asking(fake: FakeModel, **options) -> RemoteModel:
    return RemoteModel(parse_address(fake.name, key="sk-test"), RENDERER, **options)


def test_frames_go_as_png_data_urls_with_one_prompt_and_the_reply_is_matched():
    with FakeModel(lambda body: "It is: **Bow**.") as fake:
        results = list(asking(fake).recognize(CLIPS, LABELS))
    assert [result.clip_id for result in results] == [clip.clip_id for clip in CLIPS]
    assert {result.label for result in results} == {"bow"}
    assert results[0].score is None
    assert results[0].reply == "It is: **Bow**."
    assert len(fake.bodies) == len(CLIPS)
    (first, *_) = pictures = pictures_of(fake.bodies[0])
    assert len(pictures) == 3
    assert first.startswith("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(first.split(",")[1]))).size == (32, 32)
    assert all(label in text_of(fake.bodies[0]) for label in LABELS)
    assert fake.keys == ["Bearer sk-test"] * len(CLIPS)


def test_the_true_action_is_never_in_a_question():
    with FakeModel(lambda body: "a person moves") as fake:
        list(asking(fake).describe(CLIPS, "Which side moves?"))
    assert not any("wave" in text_of(body) or "bow" in text_of(body) for body in fake.bodies)


def test_a_trained_renderers_colours_are_not_explained():
    with FakeModel(lambda body: "a person moves") as fake:
        list(asking(fake, legend=True).describe(CLIPS[:1]))
        list(asking(fake, legend=False).describe(CLIPS[:1]))
    assert ["orange" in text_of(body) for body in fake.bodies] == [True, False]


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("wave", "wave"),
        ("WAVE!", "wave"),
        ("The person does wave_both_hands.", "wave both hands"),
        ("wave, or rather bow", None),
        ("wave, then wave again", "wave"),
        ("waves", None),
        ("", None),
    ],
)
def test_a_reply_names_one_label_or_none(reply, label):
    assert named_label(reply, LABELS) == label


def test_a_reply_that_names_no_label_is_an_error_or_told():
    with FakeModel(lambda body: "no idea") as fake:
        with pytest.raises(DataError, match="'no idea', which names none"):
            list(asking(fake).recognize(CLIPS[:1], LABELS))
        refused = []
        assert not list(asking(fake).recognize(CLIPS, LABELS, lambda clip, error: refused.append(clip.clip_id)))
    assert refused == [clip.clip_id for clip in CLIPS]


@pytest.mark.parametrize(
    ("fake", "said"),
    [
        (FakeModel(status=401), "status 401 .* check OPENAI_API_KEY"),
        (FakeModel(status=404), "check the model's name"),
        (FakeModel(status=400), "perhaps the model takes no pictures"),
        (FakeModel(raw="<html>log in</html>"), "cannot be read|no chat completion"),
        (FakeModel(raw='{"error": {"message": "tired"}}'), "no chat completion"),
    ],
)
def test_a_servers_error_is_one_sentence_without_the_key(fake, said):
    with fake, pytest.raises(ServerError, match=said) as raised:
        list(asking(fake).describe(CLIPS[:1]))
    assert "sk-test" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("skeletonllm.answer.remote._RETRIES", 0)
    model = RemoteModel(parse_address("openai:x@http://127.0.0.1:9/v1"), RENDERER)
    with pytest.raises(ServerError, match=r"x at http://127\.0\.0\.1:9/v1: cannot be reached"):
        list(model.describe(CLIPS[:1]))
