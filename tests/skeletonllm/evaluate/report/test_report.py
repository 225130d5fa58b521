import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.report import (
    RESULTS,
    Example,
    ReportData,
    ShownChain,
    ShownStep,
    System,
    read_results,
    render_page,
    summary_table_of,
    write_report,
)
from tests.skeletonllm.evaluate.report.samples import make_chain, make_example, make_gif, make_report, make_system

VOID = {"meta", "br", "img", "line", "polyline"}


class Reader(HTMLParser):
    """The tags, addresses and text of a page; complains of tags that do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.links, self.said = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.said.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.said))


def poisoned(value):
    """The same with a script in every text, all the way down."""
    if isinstance(value, str):
        return f"<script>alert('{value}')</script>\"'&"
    if isinstance(value, tuple):
        return tuple(poisoned(part) for part in value)
    if isinstance(value, dict):
        return {poisoned(key): poisoned(part) for key, part in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: poisoned(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def test_the_page_says_what_was_found():
    text = Reader(render_page(make_report())).text
    for wanted in (
        *("SkeletonLLM: quickstart", "66.7 %", "2.0 × chance", "8 of 12", "Verified chains", "90.0 %", "1 min 42 s"),
        *("16.7 points above", "a person waves twice", "✗ bow", "not measurable", "it changes by +0.58 body sizes"),
        *("frames 4–19", "render_warmup", "P001", "3 rejected, 1 shown", "line 7: 11 numbers"),
        *("22bd5bdeaf04", "2.9.0", "A tiny model.", "not in training", "unknown"),
    ):
        assert wanted in text, wanted


def test_the_page_needs_no_network_and_no_script():
    page = render_page(make_report())
    reader = Reader(page)
    assert "script" not in reader.tags
    assert "link" not in reader.tags
    assert {link[:22] for link in reader.links if not link.startswith("#")} == {"data:image/gif;base64,"}
    assert not re.search(r"url\(|@import|https?://", page)


def test_every_link_inside_the_page_has_its_place():
    page = render_page(make_report())
    places = set(re.findall(r'id="([^"]+)"', page))
    assert {link[1:] for link in Reader(page).links if link.startswith("#")} == places


def test_no_text_can_become_a_tag():
    clean, dirty = Reader(render_page(make_report())), Reader(render_page(poisoned(make_report())))
    assert "script" not in dirty.tags
    assert "<script>alert('wave')</script>" in dirty.text
    assert set(dirty.tags) <= set(clean.tags) | {"details", "summary"}


def test_a_style_cannot_be_broken_out_of():
    label = "x</style><img src=x onerror=alert(1)>"
    page = render_page(make_report(title=label, candidates=(label, "kick", "wave")))
    assert "<img src=x" not in page
    assert page.count("</style>") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"systems": (make_system(cross_format=None, by_persons={}, confusion=(), chain_label=None),)},
        {"systems": (make_system(), make_system("other", by_format={}, by_persons={}, confusion=()))},
        {"comparison": None},
        {"gallery": (make_example(learned=b"", fixed=b"", captions=(), format="", clip_id=""),)},
        {"chains": (make_chain(steps=(), reasons=()),), "chain_rate": (0, 0), "step_counts": {}},
        {"candidates": (), "systems": (make_system(confusion=()),)},
        {"systems": (make_system(confusion=((0, 0, 0),) * 3),)},
        {"times": (("nothing", 0.0),), "seed": None, "versions": ()},
        {"gallery": (), "chains": (), "curves": (), "times": (), "data": (), "counts": (), "rejected": ()},
        {"systems": (make_system(confusion=()), make_system("other"))},
        {
            "candidates": tuple(f"a{n}" for n in range(30)),
            "systems": (make_system(confusion=((1,) * 30,) * 30),),
        },
    ],
)
def test_a_report_with_something_missing_is_still_a_page(changes):
    reader = Reader(render_page(make_report(**{"num_rejected": 0, **changes})))
    assert "Held-out accuracy" in reader.text


def test_a_report_without_systems_is_refused():
    with pytest.raises(ConfigError, match="no system"):
        render_page(make_report(systems=()))


def test_a_matrix_that_is_not_of_the_candidates_is_refused():
    with pytest.raises(ConfigError, match="learned renderer has 3 rows of 3, must have 2 of 2"):
        render_page(make_report(candidates=("bow", "kick"), systems=(make_system(),)))


def test_too_many_pictures_are_left_out_and_counted():
    big = make_gif(400)
    gallery = tuple(make_example(learned=big, fixed=big, clip_id=f"c{n}") for n in range(14))
    page = render_page(make_report(gallery=gallery))
    shown = page.count("<article") - 1
    assert 0 < shown < 14
    assert f"{14 - shown} more were left out" in Reader(page).text
    assert len(page.encode()) < 6_000_000


def test_results_are_read_back_as_they_were(tmp_path):
    data = make_report()
    write_report(data, tmp_path / "report.html")
    assert read_results(tmp_path / "report.html") == dataclasses.replace(data, gallery=(), curves=())


def test_only_whole_files_are_left_and_writing_again_replaces_them(tmp_path):
    for title in ("one", "two"):
        write_report(make_report(title=title), tmp_path / "new" / "report.html")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"report.html", RESULTS}
    assert "<title>two</title>" in (tmp_path / "new" / "report.html").read_text()


def test_the_same_report_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_report(make_report(), tmp_path / name / "report.html")
    for file in ("report.html", RESULTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_name_that_is_not_utf8_is_written_all_the_same(tmp_path):
    write_report(make_report(rejected=(("caf\udce9.skeleton", "no"),)), tmp_path / "report.html")
    assert "caf?.skeleton" in (tmp_path / "report.html").read_text()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_report(make_report(), tmp_path / "file" / "report.html")


@pytest.mark.parametrize("text", ["", "[]", '{"title": "x"}', "{"])
def test_damaged_results_say_so(tmp_path, text):
    (tmp_path / RESULTS).write_text(text)
    with pytest.raises(DataError, match="evaluate again"):
        read_results(tmp_path / "report.html")


def test_results_hold_what_the_pipeline_must_fill_in(tmp_path):
    """The names that others read and write; a change here is a change for them."""
    write_report(make_report(), tmp_path / "report.html")
    assert json.loads((tmp_path / RESULTS).read_text()).keys() == {f.name for f in dataclasses.fields(ReportData)}
    required = {
        kind: [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
        for kind in (System, Example, ShownStep, ShownChain)
    }
    assert required[System] == ["name", "held_out", "cross_format", "by_format"]
    assert required[ShownStep] == ["text", "verdict", "reason"]


def test_the_table_has_a_row_for_each_measure(tmp_path):
    path = tmp_path / "report.html"
    write_report(make_report(), path)
    console = Console(width=200)
    with console.capture() as captured:
        console.print(summary_table_of(path))
    shown = captured.get()
    for wanted in (
        "held-out accuracy, learned renderer",
        "66.7%",
        "2.0",
        "cross-format (bvh), fixed renderer",
        "90.0%",
    ):
        assert wanted in shown
    for wanted in ("9 of 10", "time, ingest", "1 min 39 s", "33.3%"):
        assert wanted in shown
    assert str(path) in "".join(shown.split())  # a long path is broken over lines


def test_square_brackets_in_a_name_are_no_markup(tmp_path):
    path = tmp_path / "report.html"
    write_report(make_report(systems=(make_system("[red]learned[/nonsense]"),)), path)
    console = Console(width=120)
    with console.capture() as captured:
        console.print(summary_table_of(path))
    assert "[red]learned[/nonsense]" in captured.get()
