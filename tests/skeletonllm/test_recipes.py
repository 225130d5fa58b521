import pytest

from skeletonllm.errors import ConfigError
from skeletonllm.plain import from_plain, to_plain
from skeletonllm.recipes import RECIPES, Recipe, get_recipe


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
