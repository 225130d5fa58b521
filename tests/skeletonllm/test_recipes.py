import inspect

import pytest

from skeletonllm.cli.learn import train as cli_train
from skeletonllm.errors import ConfigError
from skeletonllm.plain import from_plain, to_plain
from skeletonllm.recipes import RECIPES, Recipe, get_recipe, with_settings


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_named_like_itself_and_survives_plain_values(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert from_plain(Recipe, to_plain(recipe), name) == recipe
    assert [stage.name for stage in recipe.stages] == ["render_warmup", "disc_ft", "cr_distill", "recognition"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_last_stage_freezes_the_renderer_and_the_fixed_one_has_none(name):
    recipe = get_recipe(name)
    assert "renderer" in recipe.stage("disc_ft").trains
    assert "renderer" not in recipe.stage("recognition").trains
    assert "renderer" not in recipe.fixed.trains
    assert recipe.fixed_student.render.renderer == "skeleton_2d"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no recipe 'quickstrat'; .* did you mean 'quickstart'"):
        get_recipe("quickstrat")
    with pytest.raises(ConfigError, match="no stage 'warmup'; it has render_warmup"):
        get_recipe("smoke").stage("warmup")


def test_single_settings_of_a_recipe_can_be_others():
    changed = with_settings(
        get_recipe("quickstart"),
        [
            *(
                "engine.num_nodes=2",
                "engine.offload=optimizer",
                "student.render.size_px=96",
                "stages.fixed_renderer.epochs=2",
            ),
            *("stages.*.batch_size=8", "stages.disc_ft.learning_rates.renderer=1e-4", "stages.disc_ft.max_steps=null"),
            'stages.recognition.examples=["mqa"]',
        ],
    )
    assert (changed.engine.num_nodes, changed.engine.offload, changed.fixed.epochs) == (2, "optimizer", 2.0)
    assert changed.student.render.size_px == changed.fixed_student.render.size_px == 96
    assert {stage.batch_size for stage in (*changed.stages, changed.fixed)} == {8}
    assert (changed.stage("disc_ft").learning_rates.renderer, changed.stage("disc_ft").max_steps) == (1e-4, None)
    assert changed.stage("recognition").examples == ("mqa",)
    assert changed.stage("cr_distill").learning_rates == get_recipe("quickstart").stage("cr_distill").learning_rates
    assert with_settings(get_recipe("smoke"), []) == get_recipe("smoke")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("engine.num_node=2", "no setting 'num_node'; did you mean 'num_nodes'"),
        ("stages.warmup.epochs=2", "no setting 'warmup'; did you mean 'render_warmup'"),
        ("stages=2", "not PATH=VALUE"),
        ("stages.disc_ft=2", "no setting 'disc_ft'"),
        ("engine.num_nodes.more=2", "no setting 'more'; it is a value"),
        ("seed=3", "paths begin with student, stages, engine"),
        ("engin.num_nodes=2", "no setting 'engin'; did you mean 'engine'"),
        ("stages.disc_ft.name=x", "a stage keeps its name"),
        ("engine.num_nodes", "not PATH=VALUE"),
        (
            "engine.num_nodes=two",
            "--set engine.num_nodes=two: 'two' is not a int; values are JSON, such as 3, true, null",
        ),
        ("engine.tensorboard=True", "'True' is not a bool; values are JSON"),
        (
            "stages.disc_ft.learning_rates=1e-4",
            "holds several settings; set one of renderer, projector, language_adapter",
        ),
        ("engine.num_nodes=3", "batch_size 16 cannot be divided by 3 workers x 1 .*; choose a multiple$"),
        ("stages.disc_ft.max_steps=0", "max_steps 0, must be at least 1"),
        ("engine.num_nodes=0", "engine.num_nodes is 0, must be at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_sentence(setting, said):
    with pytest.raises(ConfigError, match=said):
        with_settings(get_recipe("quickstart"), [setting])


def test_of_several_settings_the_one_that_cannot_be_is_named_and_some_can_only_be_together():
    with pytest.raises(ConfigError, match=r"^--set engine\.num_nodes=two: 'two' is not a int"):
        with_settings(get_recipe("quickstart"), ["engine.zero_stage=2", "engine.num_nodes=two"])
    together = ["engine.offload=optimizer_and_weights", "engine.zero_stage=3"]
    assert with_settings(get_recipe("quickstart"), together).engine.zero_stage == 3


def test_the_examples_of_the_help_can_be_set():
    help_text = [word.strip("`,;.") for word in inspect.getdoc(cli_train).split() if "=" in word]
    settings = [word for word in help_text if word.partition(".")[0] in ("student", "stages", "engine")]
    assert len(settings) == 5
    changed = with_settings(get_recipe("quickstart"), settings)
    assert changed.student.backbone.name == "FOLDER"
