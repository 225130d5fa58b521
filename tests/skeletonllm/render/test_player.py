import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from skeletonllm.render.player import Scene, player_html, write_player
from skeletonllm.skeleton.clip import Clip
from tests.makers import make_clip, random_topology

FRAMES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def scene(clip: Clip, **changes) -> Scene:
    return Scene(**{"title": "a", "clip": clip, "frames": FRAMES, "times_s": [0.0, 0.1, 0.2], **changes})


def data_of(page: str) -> list[dict]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_it_holds_the_joints_of_each_clip_to_a_fraction_of_a_millimetre() -> None:
    clips = [make_clip(num_persons=2), make_clip(topology="coco_17")]
    for clip, plain in zip(clips, data_of(player_html([scene(clip) for clip in clips])), strict=True):
        whole = numbers(plain["positions"], "<i2").reshape(clip.positions.shape) / 32767
        back = whole * plain["reach"] + np.array(plain["center"])
        inside = np.abs(whole).max(-1) < 1
        assert inside.mean() > 0.98
        assert np.abs(back - clip.positions)[inside].max() < 1e-3
        assert plain["names"] == list(clip.topology.joint_names)
        assert plain["parents"] == list(clip.topology.parents)
        assert (numbers(plain["confidence"], "u1") == 255).all()
        assert plain["saliency"] is None


def test_a_joint_that_jumps_far_away_does_not_cost_the_others_their_precision() -> None:
    clip = make_clip(num_frames=200)
    positions = clip.positions.copy()
    positions[0, 3, 4] = 1e6
    (plain,) = data_of(player_html([scene(replace(clip, positions=positions))]))
    assert plain["reach"] < 10


def test_frames_and_times_are_those_that_were_given(tmp_path) -> None:
    (plain,) = data_of(player_html([scene(make_clip())]))
    assert plain["times"] == [0.0, 0.1, 0.2]
    assert [base64.b64decode(image)[:4] for image in plain["images"]] == [b"\x89PNG"] * 3


def test_saliency_is_scaled_to_its_largest() -> None:
    clip = make_clip()
    saliency = np.zeros(clip.positions.shape[:3], np.float32)
    saliency[0, 2, 3], saliency[0, 2, 4] = 0.02, 0.01
    (plain,) = data_of(player_html([scene(clip, saliency=saliency)]))
    found = numbers(plain["saliency"], "u1").reshape(saliency.shape)
    assert found[0, 2, 3] == 255
    assert found[0, 2, 4] in (127, 128)
    assert found.sum() < 400
    (plain,) = data_of(player_html([scene(clip, saliency=0 * saliency)]))
    assert not numbers(plain["saliency"], "u1").any()


@pytest.mark.parametrize("hostile", ["</script><script>alert(1)</script>", "<!--", '"};alert(1)//', "/*STYLE*/ \u2028"])
def test_names_that_would_break_out_of_the_page_do_not(hostile) -> None:
    topology = replace(random_topology(3), joint_names=(hostile, "b", "c"))
    page = player_html([scene(make_clip(topology=topology, action=hostile), title=hostile, note=hostile)])
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    (plain,) = data_of(page)
    assert plain["title"] == plain["note"] == plain["action"] == plain["names"][0] == hostile


def test_the_page_is_well_formed_and_fetches_nothing(tmp_path) -> None:
    write_player(tmp_path / "a.html", [scene(make_clip())])
    page = (tmp_path / "a.html").read_text()
    seen = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, dict(attrs)))

    Parser().feed(page)
    assert {"canvas", "img", "select", "button"} <= {tag for tag, _ in seen}
    assert not any("src" in attrs or "href" in attrs for _, attrs in seen)
    assert not re.search(r"https?://", page)
    for tag, attrs in seen:
        if tag == "canvas":
            assert attrs["aria-label"]


def test_nobody_seen_is_an_empty_scene() -> None:
    clip = make_clip()
    (plain,) = data_of(
        player_html([scene(replace(clip, confidence=0 * clip.confidence, positions=0 * clip.positions))])
    )
    assert not numbers(plain["positions"], "<i2").any()
    assert plain["reach"] > 0
