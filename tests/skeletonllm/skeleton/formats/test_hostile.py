"""Damaged recordings of every format, some hundred of the ten thousand of `python -m tests.fuzz`."""

import pytest

from skeletonllm.skeleton.formats import formats
from tests import fuzz


@pytest.mark.slow
def test_a_damaged_recording_is_a_typed_error_or_a_valid_clip(tmp_path):
    counts, bad = fuzz.run(400, seed=1)
    assert not bad
    assert sum(counts.values()) == 400
    outcomes = {outcome for _, outcome in counts}
    assert outcomes == {"clips", "refused"}


def test_every_format_that_can_be_written_here_is_damaged(tmp_path):
    made = fuzz.seeds(tmp_path)
    needs_real_files = {
        "uiprmd",
        "keraal",
        "pkummd",
        "utkinect",
        "msrc12",
        "cad60",
        "msraction3d",
        "kard",
        "florence3d",
    }
    needs_real_files |= {"utdmhad", "jhmdb", "kinetics", "keraal_json", "ntu_npy", "expmap", "h36m", "mediapipe"}
    assert formats().keys() - made.keys() <= needs_real_files
