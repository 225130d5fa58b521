import json
from dataclasses import replace

import pytest

from pipelines.choices import Choices, choose, remember
from pipelines.workdir import Workdir
from skeletonllm.errors import ConfigError
from skeletonllm.recipes import get_recipe


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path / "work")


def test_a_new_folder_takes_what_is_given_and_the_recipe_s_own(workdir):
    own = get_recipe("quickstart")
    assert choose(workdir) == Choices("quickstart", own.hold_out, (), own.seed)
    assert choose(workdir, "smoke", "camera=3", ["bvh"], 7) == Choices("smoke", "camera=3", ("bvh",), 7)


def test_a_later_command_speaks_of_the_same_run_unless_it_is_told_otherwise(workdir):
    told = choose(workdir, "smoke", "camera=3", ["bvh"], 7)
    remember(workdir, told)
    assert choose(workdir) == told
    assert told.recipe.name == "smoke"
    assert choose(workdir, hold_out="subject=25%", cross_format=[]) == Choices("smoke", "subject=25%", (), 7)


def test_settings_are_remembered_for_their_recipe_until_others_or_none_are_given(workdir):
    told = choose(workdir, "smoke", settings=["engine.num_workers=2", "stages.*.batch_size=4"])
    remember(workdir, told)
    assert choose(workdir) == told
    assert told.recipe.engine.num_workers == 2
    more = choose(workdir, settings=["engine.zero_stage=2", "engine.num_workers=4"])
    assert more.settings == ("engine.num_workers=4", "stages.*.batch_size=4", "engine.zero_stage=2")
    assert more.described == "smoke with engine.num_workers=4 stages.*.batch_size=4 engine.zero_stage=2"
    assert choose(workdir, settings=[]).recipe == get_recipe("smoke")
    assert choose(workdir, "quickstart").recipe == get_recipe("quickstart")


def test_a_memory_from_before_there_were_settings_has_none(workdir):
    remember(workdir, choose(workdir, "smoke"))
    file = workdir.path / "choices.json"
    known = json.loads(file.read_text())
    del known["settings"]
    file.write_text(json.dumps(known))
    assert choose(workdir).settings == ()


def test_a_remembered_setting_that_cannot_be_any_more_says_where_it_is_remembered(workdir):
    remember(workdir, replace(choose(workdir, "smoke"), settings=("engine.gone=1",)))
    with pytest.raises(ConfigError, match=r"no setting 'gone'.*choices\.json remembers; `--set` alone takes them back"):
        choose(workdir)
    assert choose(workdir, settings=[]).settings == ()


def test_an_unknown_setting_is_refused_before_anything_is_written(workdir):
    with pytest.raises(ConfigError, match="did you mean 'num_nodes'"):
        choose(workdir, "smoke", settings=["engine.num_node=2"])
    assert not workdir.path.exists()


def test_a_damaged_memory_is_one_clear_error(workdir):
    remember(workdir, choose(workdir))
    file = workdir.path / "choices.json"
    file.write_text(file.read_text()[:20])
    with pytest.raises(ConfigError, match=r"choices\.json: not JSON .* delete it"):
        choose(workdir)


def test_an_unknown_recipe_is_refused_before_anything_is_written(workdir):
    with pytest.raises(ConfigError, match="did you mean 'smoke'"):
        choose(workdir, "smok")
    assert not workdir.path.exists()
