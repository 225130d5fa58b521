import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor

from skeletonllm.errors import DataError
from skeletonllm.evaluate.saliency import Explanation, explain_answer
from skeletonllm.evaluate.saliency.drawing import color_of
from skeletonllm.evaluate.saliency.picture import picture_of, write_picture
from tests.skeletonllm.render.bodies import waving
from tests.students import ACTIONS, SMALL, tiny_student


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    student = tiny_student(render=replace(SMALL, num_frames=3, gaussians_per_bone=2)).eval()
    return explain_answer(student, waving(), ACTIONS, random_orders=1)


def test_the_picture_shows_the_brightest_colour_where_saliency_is_largest(explanation) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(picture_of(explanation))))
    brightest = (pixels == ImageColor.getrgb(color_of(1.0))).all(-1)
    assert brightest.any()
    nothing = replace(explanation, saliency=np.zeros_like(explanation.saliency))
    assert (
        not (np.asarray(Image.open(io.BytesIO(picture_of(nothing)))) == ImageColor.getrgb(color_of(1.0))).all(-1).any()
    )


def test_odd_names_do_not_spoil_the_picture(explanation) -> None:
    clip = replace(explanation.clip, clip_id="line\nbreak \u2603 " + "long " * 100)
    assert Image.open(io.BytesIO(picture_of(replace(explanation, clip=clip)))).size[0] == 1516


def test_a_picture_that_cannot_be_written_is_one_clear_error(explanation, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_picture(explanation, tmp_path / "file" / "a.png")
