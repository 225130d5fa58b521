import pytest
import torch

from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.render.config import RenderConfig
from skeletonllm.serve.engine import Engine, Work
from skeletonllm.serve.limits import Limits
from tests.families import FAMILIES, write_family
from tests.skeletonllm.serve.test_engine import ASKED, RANKED, Heard, prepared


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family_answers_about_text_pictures_and_clips(name, tmp_path):
    config = StudentConfig(
        backbone=BackboneConfig(name=str(write_family(name, tmp_path / "model"))),
        adapter=AdapterConfig(rank=2, alpha=4),
        render=RenderConfig(size_px=56, num_frames=2, gaussians_per_bone=1),
    )
    student = SkeletonLLM.build(config).eval()
    engine = Engine(student, Limits())
    for question in (ASKED, RANKED):
        for seen in (None, torch.rand(2, 3, 56, 56), prepared(student, 0)):
            alone, first, second = Heard(), Heard(), Heard()
            engine.submit(Work(question, seen, alone))
            expected = alone.outcome()
            for heard in (first, second):
                engine.submit(Work(question, seen, heard))
            for heard in (first, second):
                assert heard.outcome().text == expected.text == "".join(heard.texts)
    engine.stop()
