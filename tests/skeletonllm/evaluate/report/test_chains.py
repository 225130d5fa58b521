from skeletonllm.evaluate.report.chains import ActionVerdicts, ChainsPage, DrawnChain, render_chains
from skeletonllm.evaluate.report.data import ShownChain, ShownStep

STEPS = (
    ShownStep("the right hand rises", "supported", "it changes by +0.50 body sizes", (0, 9)),
    ShownStep("the trunk bends", "contradicted", "it changes by -3 degrees", (10, 19)),
)
CHAIN = ShownChain("<clip>", "wave & go", "One hand goes <b>up</b>.", STEPS, "rejected", ("the answer is 'x'",))
PAGE = ChainsPage(
    teacher="fake at <server>",
    facts=(("spent", "0.12 USD of 1.00"),),
    actions=(ActionVerdicts("wave & go", 3, 1, 0), ActionVerdicts("kick", 2, 0, 2)),
    steps={"supported": 7, "contradicted": 1},
    reasons=(("the answer is …", 1),),
    chains=(DrawnChain(CHAIN, "made", b"webp", (1, 6, 11, 16), 20),),
)


def test_the_total_adds_up_the_actions():
    assert (PAGE.total.accepted, PAGE.total.rejected, PAGE.total.without, PAGE.total.asked) == (5, 1, 2, 8)
    assert ChainsPage("nobody", (), ()).total.asked == 0


def test_the_page_shows_who_taught_the_verdicts_and_what_was_measured_and_needs_no_other_file():
    page = render_chains(PAGE)
    for said in ("62.5 %", "0.12 USD of 1.00", "it changes by +0.50 body sizes", "frames 10–19", "the answer is …"):
        assert said in page
    assert "data:image/webp;base64," in page
    assert "http" not in page
    assert "left:50.00%;right:0.00%" in page  # the second claim's bar stands where its frames are


def test_what_comes_from_data_is_escaped():
    page = render_chains(PAGE)
    for text in ("<clip>", "<server>", "<b>up", "wave & go"):
        assert text not in page
    assert "wave &amp; go" in page


def test_a_data_set_without_chains_has_a_page_too():
    assert "0 of 0 clips" in render_chains(ChainsPage("kinematic", (), ()))
