"""One movement in many formats is one canonical motion: `pytest -s` prints the error of each format in millimetres."""

from dataclasses import replace

import numpy as np
import pytest

from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import bvh, ntu, plain_csv, plain_numpy, plain_parquet, read
from skeletonllm.skeleton.kinematics import canonicalise
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES

WRITERS = {
    "a.skeleton": (ntu.write, 0.01),
    "a.csv": (plain_csv.write, 0.001),
    "a.npz": (plain_numpy.write, 0.001),
    "a.parquet": (plain_parquet.write, 0.001),
    # The frame time has seven digits, positions four of a centimetre.
    "a.bvh": (bvh.write, 0.5),
}


@pytest.fixture(scope="module")
def movement() -> Clip:
    """A kick, seen by a Kinect that sees all."""
    seen = sensors.convert(perform("kick", 0, 0, 0, fps=30.0), TOPOLOGIES["kinect_v2_25"])
    return replace(sensors.before_camera(seen, sensors.View(yaw=0.4)), rotations=None)


@pytest.mark.parametrize("name", WRITERS)
def test_a_movement_is_the_same_canonical_motion_in_every_format(movement, name, tmp_path):
    write, most_mm = WRITERS[name]
    write(movement, tmp_path / name)
    (back,) = read(tmp_path / name)
    assert back.fps == pytest.approx(movement.fps, rel=1e-5)
    joints = [back.topology.joint_names.index(joint) for joint in movement.topology.joint_names]
    one, other = canonicalise(movement), canonicalise(back)
    error_mm = 1000 * np.linalg.norm(other.positions[:, :, joints] - one.positions, axis=-1)
    print(f"{name}: {error_mm.mean():.4f} mm on average, {error_mm.max():.4f} mm at most")
    assert error_mm.max() < most_mm
