import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines.executor import Build, Rejected, ShardOutput, _make_shard, map_shards, write_table
from skeletonllm.errors import DataError, ShardError
from skeletonllm.shards.manifest import dataset_folder
from skeletonllm.shards.reader import ShardReader


def double(number: int) -> ShardOutput:
    if number == 13:
        return ShardOutput(pa.table({"n": pa.array([], pa.int64())}), (Rejected("13.txt", "line 1", "unlucky"),))
    return ShardOutput(pa.table({"n": [2 * number]}), statistics={"sum": number, "by": {str(number % 2): 1}})


def slow_double(number: int) -> ShardOutput:
    time.sleep(0.02)
    return double(number)


def die_once(marker: str) -> ShardOutput:
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return double(1)


def always_die(_: int) -> ShardOutput:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


BUILD = Build("numbers", "double", 1, {}, [], "numbers", double, list(range(5)))


def rows(dataset) -> list[int]:
    return ShardReader(dataset).table().column("n").to_pylist()


def test_each_input_becomes_one_shard_and_statistics_add_up(tmp_path):
    reader = ShardReader(map_shards(BUILD, tmp_path))
    assert [shard.rows for shard in reader.manifest.shards] == [1] * 5
    assert rows(map_shards(BUILD, tmp_path)) == [0, 2, 4, 6, 8]
    assert reader.manifest.statistics == {"by": {"0": 3, "1": 2}, "sum": 10}


def test_a_finished_data_set_is_not_made_again(tmp_path):
    first = map_shards(BUILD, tmp_path)
    assert map_shards(replace(BUILD, process_shard=always_die), tmp_path) == first


def test_a_changed_config_makes_another_data_set(tmp_path):
    assert map_shards(BUILD, tmp_path) != map_shards(replace(BUILD, config={"k": 1}), tmp_path)


def test_rejected_input_is_recorded_with_its_reason(tmp_path):
    dataset = map_shards(replace(BUILD, shards=[1, 13]), tmp_path)
    assert ShardReader(dataset).rejected() == [{"file": "13.txt", "place": "line 1", "reason": "unlucky", "kind": ""}]


def test_too_much_rejected_input_publishes_nothing(tmp_path):
    with pytest.raises(DataError, match=r"1 of 2 inputs were rejected, at most 10% .* 13\.txt: unlucky"):
        map_shards(replace(BUILD, shards=[1, 13], max_rejected=0.1), tmp_path)
    assert not list(tmp_path.glob("numbers/*/manifest.json"))
    with pytest.raises(DataError, match="1 of 1 inputs"):
        map_shards(replace(BUILD, shards=[13]), tmp_path)


def double_when_told(number: int) -> ShardOutput:
    while number == 3 and not os.path.exists("go"):
        time.sleep(0.01)
    return double(number)


def started_build() -> subprocess.Popen:
    """A process that builds in its folder as far as it is told, and waits where another builds."""
    script = (
        "from pathlib import Path; from dataclasses import replace\n"
        "from skeletonllm.log import set_up_logging; set_up_logging()\n"
        "from tests.pipelines.test_executor import BUILD, double_when_told\n"
        "from pipelines.executor import map_shards\n"
        "map_shards(replace(BUILD, process_shard=double_when_told), Path.cwd())"
    )
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_second_builder_waits_for_the_first_and_goes_on_where_it_was_killed(tmp_path, monkeypatch, is_killed):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    first = started_build()
    while len(list(tmp_path.glob("numbers/*/shard-*"))) < 3:
        time.sleep(0.01)
    second = started_build()
    said = second.stderr.readline()
    assert f"process {first.pid} on " in said
    assert "waiting for it" in said
    if is_killed:
        first.kill()
    open("go", "w").close()
    first.communicate()
    said = second.communicate()[1]
    assert second.returncode == 0
    assert ("is there already, nothing to do" in said) is not is_killed
    assert rows(map_shards(BUILD, tmp_path)) == [0, 2, 4, 6, 8]


def test_a_machine_that_does_not_see_the_work_folder_is_one_clear_error(tmp_path):
    with pytest.raises(ShardError, match="of the Ray cluster does not see it; put the work folder"):
        _make_shard(double, 1, str(tmp_path / "elsewhere"), 0, 1)
    assert not list(tmp_path.iterdir())


def test_a_shard_that_comes_late_does_not_replace_the_one_that_another_worker_made(tmp_path):
    def late(number: int) -> ShardOutput:
        _make_shard(double, number, str(folder), 0, 1)
        return double(13)

    folder = dataset_folder(tmp_path, BUILD.name, BUILD.fingerprint)
    assert rows(map_shards(replace(BUILD, process_shard=late, shards=[1]), tmp_path)) == [2]
    assert not list(folder.glob("rejected-*"))


def test_what_a_lost_machine_was_writing_is_not_left(tmp_path):
    def lost_midway(number: int) -> ShardOutput:
        (folder / f".shard-{number}.tmp").touch()
        return double(number)

    folder = dataset_folder(tmp_path, BUILD.name, BUILD.fingerprint)
    map_shards(replace(BUILD, process_shard=lost_midway), tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.ray
@pytest.mark.slow
def test_an_ingest_outlives_a_machine_of_its_cluster_and_ends_in_the_same_bytes():
    done = subprocess.run([sys.executable, "-m", "tests.node_loss", "ingest"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "lost the machine that made it, trying again" in done.stderr
    assert "the same data set, and no other file" in done.stdout


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ShardError, match="choose another folder"):
        map_shards(BUILD, tmp_path / "file")


def test_a_reduction_is_all_or_nothing(tmp_path):
    def fail() -> ShardOutput:
        raise DataError("no pairs")

    with pytest.raises(DataError, match="no pairs"):
        write_table(BUILD, tmp_path, fail)
    assert rows(write_table(BUILD, tmp_path, lambda: double(4))) == [8]


def test_a_build_that_is_killed_again_and_again_ends_in_the_same_bytes(tmp_path):
    script = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from tests.pipelines.test_executor import BUILD, slow_double\n"
        "from pipelines.executor import map_shards\n"
        "map_shards(replace(BUILD, process_shard=slow_double, shards=range(20)), Path(sys.argv[1]))"
    )
    for wait_s in (0.45, 0.5, 0.55, 0.6):
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
        time.sleep(wait_s)
        child.kill()
        child.wait()
    build = replace(BUILD, shards=range(20))
    killed, undisturbed = (map_shards(build, tmp_path / name) for name in ("killed", "undisturbed"))
    assert killed.fingerprint == undisturbed.fingerprint
    assert ShardReader(killed).manifest.shards == ShardReader(undisturbed).manifest.shards
    assert not list((tmp_path / "killed").rglob("*.tmp"))


@pytest.mark.ray
@pytest.mark.slow
def test_ray_makes_the_same_bytes_and_outlives_a_killed_worker(tmp_path, ray_cluster):
    inline, on_ray = map_shards(BUILD, tmp_path / "inline"), map_shards(BUILD, tmp_path / "ray", "ray")
    assert ShardReader(inline).manifest.shards == ShardReader(on_ray).manifest.shards
    dying = replace(BUILD, name="dying", process_shard=die_once, shards=[str(tmp_path / "marker")])
    assert rows(map_shards(dying, tmp_path, "ray")) == [2]
    with pytest.raises(ShardError, match="killed its worker 3 times"):
        map_shards(replace(BUILD, name="deadly", process_shard=always_die, shards=[1]), tmp_path, "ray")
