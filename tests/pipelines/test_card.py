import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import ingest
from pipelines.card import missing_skeletons
from pipelines.ingest import IngestConfig
from skeletonllm.shards.reader import ShardReader
from skeletonllm.skeleton.simulate import ACTIONS, write_sample_data
from tests.pipelines.recordings import ntu_name, write_cut, write_nobody, write_recordings

NTU_META = Path(__file__).parents[3] / "shared" / "data" / "ntu_meta"


def card(folder: Path, root: Path, **options) -> str:
    made = ingest.run(folder, root, IngestConfig(files_per_shard=4, max_rejected=0.9), **options)
    return (Path(made.path) / "README.md").read_text()


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.fixture
def recordings(tmp_path) -> Path:
    folder = tmp_path / "recordings"
    write_recordings(folder, range(8))
    return folder


def test_a_card_counts_what_five_formats_hold(tmp_path):
    write_sample_data(tmp_path / "sample", num_performers=1)
    text = card(tmp_path / "sample", tmp_path / "data")
    for name in (*ACTIONS, "P001", "kinect_v2_25, 25 joints, 3D", "coco_17, 17 joints, 2D", "30 by the format"):
        assert name in text
    for title in ("Classes", "People", "Skeletons", "Licence and origin", "Left out", "How it was made"):
        assert f"\n## {title}\n" in text
    assert "Nothing was rejected." in text
    assert text.endswith("skeletonllm ingest FOLDER\n```\n")


def test_the_same_recordings_elsewhere_have_the_same_card_without_a_time_or_a_place_of_the_machine(
    recordings, tmp_path
):
    elsewhere = tmp_path / "elsewhere" / "recordings"
    shutil.copytree(recordings, elsewhere)
    here, there = (card(folder, tmp_path / str(n)) for n, folder in enumerate((recordings, elsewhere)))
    assert here == there
    assert str(tmp_path) not in here


def test_what_was_left_out_is_counted_by_kind_with_an_example(recordings, tmp_path):
    write_nobody(recordings / ntu_name(20))
    write_nobody(recordings / ntu_name(21))
    write_cut(recordings / ntu_name(22))
    (recordings / "labels.csv").write_text("clip_id,action\nnobody-has-this,wave\n")
    left_out = section(card(recordings, tmp_path / "data"), "Left out")
    assert "| no body | 2 | `S001C001P021R001A001.skeleton`: " in left_out
    assert "| damaged | 1 | `S001C001P023R001A001.skeleton`: " in left_out
    assert "| label without a clip | 1 | `labels.csv`: no recording of this clip" in left_out


def test_licences_beside_the_recordings_and_declared_terms_are_named(recordings, tmp_path):
    (recordings / "LICENSE.txt").write_text("\n  The Gait Lab Licence 2.0 <script>\n\nmore\n")
    (recordings / "recordings.toml").write_text('licence = "CC BY 4.0"\norigin = "Gait Lab | Ghent"\n')
    before = ingest.run(recordings, tmp_path / "data")
    terms = section((Path(before.path) / "README.md").read_text(), "Licence and origin")
    assert r"* `LICENSE.txt`: The Gait Lab Licence 2.0 \<script\>" in terms
    assert "`recordings.toml` says: licence CC BY 4.0" in terms
    assert r"origin Gait Lab \| Ghent" in terms
    (recordings / "LICENSE.txt").write_text("Another\n")
    assert ingest.run(recordings, tmp_path / "data") != before


def test_options_are_in_the_command_that_makes_it_again(recordings, tmp_path):
    made = ingest.run(recordings, tmp_path / "data", IngestConfig(fps=25.0), name="gait")
    assert "skeletonllm ingest FOLDER --name gait --fps 25\n" in (Path(made.path) / "README.md").read_text()


def names(setups: range, actions: range, count: int) -> list[str]:
    found = [
        f"ntu/S{s:03d}C{c:03d}P{p:03d}R{r:03d}A{a:03d}.skeleton"
        for s in setups
        for a in actions
        for c in (1, 2, 3)
        for p in range(1, 41)
        for r in (1, 2)
    ]
    return found[:count]


def refusals(files: list[str], kind: str) -> pa.Table:
    columns = {"file": files, "kind": [kind] * len(files)}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def test_missing_skeletons_are_compared_with_the_published_count_where_the_data_set_is_whole():
    sixty = names(range(1, 18), range(1, 61), 56_880)
    whole = missing_skeletons(pa.array(sixty), refusals(sixty[:302], "no body"))
    assert "| NTU RGB+D 60 | 56,880 of 56,880 | 302 | 0 | 302 have missing or incomplete skeletons |" in whole
    assert "NTU RGB+D 120" not in whole
    more = sixty + names(range(18, 33), range(61, 121), 57_600)
    both = missing_skeletons(pa.array(more), refusals(more[-233:] + sixty[:302], "no body"))
    assert "| NTU RGB+D 120 | 114,480 of 114,480 | 535 | 0 | 535 have missing or incomplete skeletons |" in both
    part = missing_skeletons(pa.array(sixty[:100]), refusals(sixty[:7], "damaged"))
    assert "| NTU RGB+D 60 | 100 of 56,880 | 0 | 7 | not compared: too few recordings are here |" in part
    assert missing_skeletons(pa.array(["walk.bvh"]), refusals([], "")) == ""


def test_the_recordings_without_a_body_are_found_among_all_by_reading_them(tmp_path):
    lists = sorted(NTU_META.glob("*120_samples_with_missing_skeletons.txt"))
    if not lists:
        pytest.skip(f"no list of missing samples in {NTU_META}")
    published = {line.strip() for line in lists[0].read_text().splitlines() if line.startswith("S0")}
    assert len(published) == 535
    folder = tmp_path / "ntu"
    write_recordings(folder, range(40))
    for name in published:
        (folder / f"{name}.skeleton").unlink(missing_ok=True)
        write_nobody(folder / f"{name}.skeleton")
    made = ingest.run(folder, tmp_path / "data", IngestConfig(max_rejected=1.0))
    missing = {Path(row["file"]).stem for row in ShardReader(made).rejected() if row["kind"] == "no body"}
    assert missing == published
    assert "| NTU RGB+D 120 |" in (Path(made.path) / "README.md").read_text()
    assert json.loads((Path(made.path) / "manifest.json").read_text())["rejected"]
