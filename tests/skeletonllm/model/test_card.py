from dataclasses import replace

import yaml

from skeletonllm.model.about import About, DataFacts, Score, StageFacts
from skeletonllm.model.card import student_card
from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig
from skeletonllm.model.stored import Stored

ABOUT = About(
    licence="apache-2.0",
    recipe="internvl3-8b",
    revision="0" * 40,
    split="subject=P003",
    actions=("wave", "<script>alert(1)</script>", "a|b"),
    data=(DataFacts("clips", "c" * 64, 56_880, ("ntu",), "0.1.0"),),
    stages=(StageFacts("warmup", "f" * 64, ("renderer",), ("mqa",), 8, 8, 0, "c" * 64, "e" * 64, "0.1.0"),),
    scores=(Score("accuracy", "held-out clips", 0.8, 0.7123, 0.87, 80, 100, 0.05),),
    changes=("LoRA folded into 14 layers",),
)
STORED = Stored(
    StudentConfig(BackboneConfig(name="OpenGVLab/InternVL3-1B-hf", dtype="bfloat16"), AdapterConfig()),
    "internvl",
    whole=False,
    about=ABOUT,
)


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_hub_reads_library_licence_base_model_and_results():
    told = front_matter(student_card(STORED, {"renderer": 10}))
    assert told["library_name"] == "skeletonllm"
    assert told["license"] == "apache-2.0"
    assert (told["base_model"], told["base_model_relation"]) == ("OpenGVLab/InternVL3-1B-hf", "adapter")
    assert told["metrics"] == ["accuracy"]
    (result,) = told["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.8}]
    assert result["dataset"]["name"] == "clips, held-out clips"


def test_people_read_data_splits_results_with_intervals_and_lineage():
    card = student_card(STORED, {"renderer": 10})
    for said in (
        "71.2 to 87.0 %",
        "80 of 100",
        "c" * 64,
        "subject=P003",
        "Recipe: internvl3-8b.",
        "8 of 8",
        f"`{'f' * 12}`",
        "56,880",
        "LoRA folded into 14 layers",
        f"`{'0' * 40}`",
        "SkeletonLLM.from_pretrained",
        "| weights of `renderer` | 10 |",
    ):
        assert said in card, said


def test_names_of_strangers_stay_text():
    card = student_card(STORED, {})
    assert "<script>" not in card
    assert r"a\|b" in card


def test_what_is_not_known_is_left_out():
    config = replace(STORED.config, backbone=BackboneConfig(name="/secret/place"))
    card = student_card(replace(STORED, config=config, about=About()), {"renderer": 10})
    assert set(front_matter(card)) == {"library_name", "tags"}
    for heading in ("## Results", "## Labels", "## Where it comes from"):
        assert heading not in card
    assert "No measured result" in card
    assert "No licence" in card
    assert "/secret" not in card
    assert "None" not in card
