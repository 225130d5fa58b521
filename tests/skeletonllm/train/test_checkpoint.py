import pytest

from skeletonllm.errors import CheckpointError
from skeletonllm.train.checkpoint import CheckpointMeta, newest, read_meta, save, verify


def save_step(root, step, fail_in=None):
    def write(name):
        def inner(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.bin").write_bytes(bytes([step]) * 100)
            if fail_in == name:
                raise KeyboardInterrupt(name)

        return inner

    meta = CheckpointMeta(1, step, 9, "recognition", "f" * 64, 1, {}, {"train/loss": 0.5})
    return save(root, meta, write("student"), write("state"), 0, lambda: None)


def test_a_saved_step_is_found_and_verified(tmp_path):
    folder = save_step(tmp_path, 3)
    assert newest(tmp_path) == (folder, verify(folder))
    assert sorted(read_meta(folder).files) == ["engine/state.bin", "student.bin"]
    assert (tmp_path / "latest").read_text().strip() == "step_000003"


@pytest.mark.parametrize("fail_in", ["student", "state"])
def test_a_save_that_dies_half_way_leaves_the_one_before(tmp_path, fail_in):
    whole = save_step(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt):
        save_step(tmp_path, 2, fail_in)
    assert newest(tmp_path)[0] == whole
    assert newest(tmp_path / "none") is None
    assert save_step(tmp_path, 2) == newest(tmp_path)[0]


@pytest.mark.parametrize("damage", [lambda b: b"x" + b[1:], lambda b: b[:-1], lambda b: b""])
def test_a_changed_byte_is_found_and_the_older_step_is_used(tmp_path, damage, caplog):
    old, new = save_step(tmp_path, 1), save_step(tmp_path, 2)
    file = new / "engine" / "state.bin"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=r"engine/state\.bin: missing or changed"):
        verify(new)
    assert newest(tmp_path)[0] == old
    assert "using an older checkpoint" in caplog.text


def test_only_the_last_two_steps_are_kept(tmp_path):
    for step in range(1, 5):
        save_step(tmp_path, step)
    assert [folder.name for folder in sorted(tmp_path.glob("step_*"))] == ["step_000003", "step_000004"]


def test_a_checkpoint_of_another_format_version_is_refused(tmp_path):
    folder = save_step(tmp_path, 1)
    (folder / "meta.json").write_text(
        (folder / "meta.json").read_text().replace('"format_version": 1', '"format_version": 7')
    )
    with pytest.raises(CheckpointError, match="checkpoint format 7, this version reads 1"):
        read_meta(folder)
