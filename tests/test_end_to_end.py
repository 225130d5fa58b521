"""The main job with its real engines (Prefect API, Ray, DeepSpeed) on a few simulated clips and a few training steps."""

import functools
import json
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import train_plan
from pipelines.choices import choose
from pipelines.workdir import Workdir
from skeletonllm.evaluate.report import read_results
from skeletonllm.shards.manifest import Manifest, read_manifest
from skeletonllm.shards.reader import ShardReader
from skeletonllm.skeleton.simulate import write_sample_data
from tests.fake_teacher import FakeTeacher, kinematic_answer
from tests.prefect_server import prefect_server, run_deployment, served_flows

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.prefect]

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent
TEACHER = ("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY")


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample_data(folder, num_performers=2)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """A Prefect home of its own, and no teacher."""
    kept = {name: value for name, value in os.environ.items() if name not in (*TEACHER, "PREFECT_API_URL")}
    return {**kept, "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")), "COLUMNS": "120"}


@pytest.fixture(scope="module")
def finished(sample, environment, tmp_path_factory) -> tuple[Path, str]:
    """An undisturbed run: its folder, and what it printed."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "work"
    return workdir, finish(sample, workdir, environment)


def command(sample: Path, workdir: Path) -> list[str]:
    options = ("--recipe", "smoke", "--cross-format", "bvh", "--workdir", str(workdir), "--data", str(sample))
    return [str(BIN / "skeletonllm"), "quickstart", *options]


def finish(sample: Path, workdir: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command(sample, workdir), env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def data_sets(workdir: Path) -> dict[str, Manifest]:
    return {
        str(path.parent.relative_to(workdir)): read_manifest(path.parent)
        for path in workdir.glob("data/*/*/manifest.json")
    }


def checkpoints(workdir: Path) -> dict[str, str]:
    """The hash of every weight file of every stage."""
    return {
        f"{path.parents[1].relative_to(workdir)}/{file}": digest
        for path in workdir.glob("runs/*/*/checkpoints/step_000004.*/meta.json")
        for file, digest in json.loads(path.read_text())["files"].items()
        if file.endswith(".safetensors")
    }


def test_the_quickstart_ends_with_a_table_and_a_report(finished):
    workdir, printed = finished
    for line in ("held-out accuracy, learned renderer", "held-out accuracy, fixed renderer", "cross-format (bvh)"):
        assert line in printed
    assert "verified chains, teacher kinematic" in printed
    results = read_results(workdir / "report.html")
    assert results.unseen_formats == ("bvh",)
    assert results.systems[0].held_out.total > 0
    assert results.chain_rate[0] > 0.9 * results.chain_rate[1] > 0
    page = (workdir / "report.html").read_text()
    assert page.count("data:image/gif;base64,") >= 2 * 5
    assert "http://" not in page
    assert 'src="http' not in page


def test_every_stage_has_its_checkpoint_and_the_tested_performer_trained_nothing(finished):
    workdir, _ = finished
    assert {name.split("/")[1] for name in checkpoints(workdir)} == {
        *("render_warmup", "disc_ft", "cr_distill", "recognition", "fixed_renderer")
    }
    names = {name.split("/")[1]: workdir / name for name in data_sets(workdir)}
    clips = ShardReader(names["clips"])
    tested = {
        clips.by_id(row["clip_id"]).source.subject for row in rows(names["predictions"]) if row["format"] != "bvh"
    }
    for name in ("chains", "examples_render_warmup", "examples_cr_distill", "training_predictions", "motion"):
        learned = {clips.by_id(row["clip_id"]).source for row in rows(names[name])}
        assert learned
        assert not tested & {source.subject for source in learned}
        assert "bvh" not in {source.format for source in learned}
    assert {row["evidence"] for row in rows(names["pairs"])} == {"student, kinematics"}


def test_a_plan_finds_all_of_it_done(finished, monkeypatch):
    for name in TEACHER:
        monkeypatch.delenv(name, raising=False)
    work = Workdir(finished[0])
    plan = train_plan.plan(work, choose(work), work.newest("clips"))
    assert {stage.name: stage.state for stage in plan.stages if stage.state != "done"} == {}
    assert plan.teacher is None


def test_the_first_and_the_last_step_say_how_much_the_renderer_shows_of_motion_and_how_much_it_learns(finished):
    workdir, _ = finished
    for metrics in workdir.glob("runs/render_warmup/*/metrics.jsonl"):
        rows = [json.loads(line) for line in metrics.read_text().splitlines()]
        assert [row["step"] for row in rows if row.get("renderer/speed_color", 0) > 0.1] == [1, 4]
        assert rows[0]["renderer/moved"] < rows[-1]["renderer/moved"]
        assert rows[0]["train/gradient_norm/renderer"] > 0
        log = (metrics.parent / "log.txt").read_text()
        assert "renderer: 2.25 m/s change colour by" in log
    (meta,) = workdir.glob("runs/fixed_renderer/*/checkpoints/step_000004.*/meta.json")
    assert json.loads(meta.read_text())["metrics"]["renderer/speed_color"] == 0


def test_renderers_can_be_compared_and_a_second_run_trains_nothing(finished, environment, tmp_path):
    # In a copy: what the undisturbed run left is compared with others.
    workdir = Path(shutil.copytree(finished[0], tmp_path / "work"))
    options = ("--renderers", "learned", "jtm", "--seeds", "0", "--epochs", "0.1", "--workdir", str(workdir))
    outputs = [
        subprocess.run(
            [str(BIN / "skeletonllm"), "compare", *options], env=environment, capture_output=True, text=True, cwd=ROOT
        )
        for _ in range(2)
    ]
    for done in outputs:
        assert done.returncode == 0, done.stderr[-3000:]
        assert "learned" in done.stdout
        assert "jtm" in done.stdout
    assert "is trained already, nothing to do" in outputs[1].stderr
    results = json.loads((workdir / "compare_renderers.json").read_text())["results"]
    assert [result["name"] for result in results] == ["learned", "jtm"]


def test_one_stage_alone_is_found_done_or_says_why_it_is_trained_again(finished, environment, tmp_path):
    workdir = Path(shutil.copytree(finished[0], tmp_path / "work"))
    before = checkpoints(workdir)
    alone = [str(BIN / "skeletonllm"), "train", "--workdir", str(workdir), "--stage", "cr_distill"]
    found, again = (
        subprocess.run([*alone, *settings], env=environment, capture_output=True, text=True, cwd=ROOT)
        for settings in ([], ["--set", "stages.cr_distill.max_steps=2"])
    )
    assert found.returncode == again.returncode == 0, found.stderr[-3000:] + again.stderr[-3000:]
    assert "is trained already, nothing to do" in found.stderr
    assert "stage cr_distill is trained again: max_steps 4 -> 2" in again.stderr
    assert checkpoints(workdir) == before
    assert f"{workdir}/runs/cr_distill/" in found.stdout
    assert "/checkpoints/step_000002." in again.stdout


def written(workdir: Path) -> dict[Path, object]:
    """When each file was written; of those that are only touched when they are asked for, what they say."""
    files = [path for folder in ("data", "runs") for path in (workdir / folder).rglob("*.*") if path.is_file()]
    touched = ("manifest.json", "done.json")
    return {path: path.read_text() if path.name in touched else path.stat().st_mtime_ns for path in files}


def rows(folder: Path) -> list[dict]:
    return ShardReader(folder).table().to_pylist()


def test_a_second_run_does_nothing_again(finished, sample, environment):
    workdir, _ = finished
    before = written(workdir)
    finish(sample, workdir, environment)
    assert written(workdir) == before


def test_a_run_that_is_killed_at_random_moments_ends_in_the_same_bytes(finished, sample, environment, tmp_path):
    workdir = tmp_path / "work"
    waits = [random.uniform(5, 45) for _ in range(3)]
    num_killed = 0
    print("killed after", [f"{wait:.1f} s" for wait in waits])
    for wait_s in waits:
        run = subprocess.Popen(
            command(sample, workdir), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
        )
        time.sleep(wait_s)
        num_killed += run.poll() is None  # a fast machine may be done before the last of them
        run.kill()
        run.wait()
    assert num_killed
    finish(sample, workdir, environment)
    undisturbed, killed = data_sets(finished[0]), data_sets(workdir)
    assert killed.keys() == undisturbed.keys()
    for name, manifest in undisturbed.items():
        assert killed[name].fingerprint == manifest.fingerprint
        assert killed[name].shards == manifest.shards, name  # rows, bytes and sha256 of each
    assert checkpoints(workdir) == checkpoints(finished[0])
    assert not [path for path in workdir.rglob("*.tmp") if "checkpoints" not in path.parts]


@pytest.fixture(scope="module")
def server(environment, tmp_path_factory) -> Iterator[dict[str, str]]:
    """A Prefect server that knows nothing yet; yields the environment of its clients."""
    with prefect_server(tmp_path_factory.mktemp("server") / "home", environment, ROOT) as clients:
        yield clients


def said(done: subprocess.CompletedProcess[str], log: Path) -> str:
    return done.stdout[-2000:] + done.stderr[-2000:] + log.read_text()[-3000:]


def test_prefect_deployment_run_train_stages_takes_the_stage_as_a_parameter(finished, server, tmp_path):
    workdir, log = finished[0], tmp_path / "log"
    before = checkpoints(workdir)
    with served_flows(server, ROOT, log):
        alone = ("--param", f"workdir={workdir}", "--param", "stage=cr_distill")
        done = run_deployment(server, ROOT, *alone, name="train-stages")
    assert done.returncode == 0, said(done, log)
    assert "stage cr_distill: " in logged(server)
    assert "is trained already, nothing to do" in logged(server)
    assert checkpoints(workdir) == before
    assert "first_batch.png" in artifacts(server)["checkpoint-cr-distill"]


def test_prefect_deployment_run_build_teacher_chains_works_as_written(finished, server, tmp_path):
    workdir, _ = finished
    before = set(data_sets(workdir))
    options = ("--param", f"workdir={workdir}", "--param", "recipe=smoke", "--param", "max_per_action=1")
    with served_flows(server, ROOT, tmp_path / "log"):
        done = run_deployment(server, ROOT, *options)
    assert done.returncode == 0, said(done, tmp_path / "log")
    (made,) = set(data_sets(workdir)) - before
    assert made.startswith("data/chains/")
    assert {row["verdict"] for row in rows(workdir / made)} == {"accepted"}


def known(clients: dict[str, str], what: str) -> list[dict]:
    """What the server knows of, the newest 200."""
    url = clients["PREFECT_API_URL"] + f"/{what}/filter"
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def artifacts(clients: dict[str, str]) -> dict[str, str]:
    """What the flows published last, by key."""
    return {one["key"]: str(one["data"]) for one in known(clients, "artifacts/latest")}


def logged(clients: dict[str, str]) -> str:
    """What the flows said, in the server's log."""
    return "\n".join(one["message"] for one in known(clients, "logs"))


def test_on_a_fresh_machine_the_command_completes_offline_and_goes_to_a_server_that_is_named(server, tmp_path):
    checkout = tmp_path / "checkout"
    for name in ("flows", "pipelines", "skeletonllm", "infra"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    clients = {**server, "PYTHONPATH": str(checkout)}
    workdir, log = checkout / "skeletonllm-work", tmp_path / "log"

    with served_flows(clients, checkout, log):
        offline = run_deployment(clients, checkout)
    assert offline.returncode == 0, said(offline, log)
    (made,) = workdir.glob("data/chains/*")
    assert read_manifest(made).config["teacher"] == "kinematic"
    assert "the teacher is the offline kinematic one" in logged(clients)
    assert "sample data are made" in logged(clients)
    assert "the offline kinematic one" in artifacts(clients)["chains"]
    assert "the offline kinematic one" in (made / "chains.html").read_text()

    (clips,) = workdir.glob("data/clips/*")
    with FakeTeacher(answer=functools.partial(kinematic_answer, list(ShardReader(str(clips)).clips()))) as fake:
        asking = {**clients, "OPENAI_BASE_URL": fake.url, "SKELETONLLM_TEACHER_MODEL": "fake-model"}
        with served_flows(asking, checkout, log):
            asked = run_deployment(asking, checkout, "--param", "max_per_action=1", "--param", "max_requests=500")
        assert asked.returncode == 0, said(asked, log)
        assert fake.count > 0
        told = f"fake-model at {fake.url}"
    (made,) = (path for path in workdir.glob("data/chains/*") if path != made)
    manifest = read_manifest(made)
    assert (manifest.config["model"], manifest.config["base_url"]) == ("fake-model", fake.url)
    assert f"the teacher is {told}" in logged(clients)
    assert told in artifacts(clients)["chains"].replace("\\", "")
    assert told in (made / "chains.html").read_text()
    assert {row["teacher"] for row in rows(made)} == {"fake-model"}
