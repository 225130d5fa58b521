import io

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.render.picture import png_frames, save_picture, side_by_side, to_bytes, webp_frames


def ramp(count: int = 5, size: int = 15) -> torch.Tensor:
    """Frames of growing brightness."""
    return torch.linspace(0.1, 0.9, count)[:, None, None, None].expand(count, 3, size, size)


def test_a_strip_holds_the_frames_side_by_side(tmp_path) -> None:
    save_picture(ramp(), tmp_path / "new folder" / "strip.png")
    strip = np.asarray(Image.open(tmp_path / "new folder" / "strip.png"))
    assert strip.shape == (15, 75, 3)
    assert (np.diff(strip[0, ::15, 0].astype(int)) > 0).all()


def test_a_gif_plays_all_frames_for_ever(tmp_path) -> None:
    save_picture(ramp(), tmp_path / "clip.gif", fps=10.0)
    with Image.open(tmp_path / "clip.gif") as image:
        assert getattr(image, "n_frames", 1) == 5
        assert image.info["duration"] == 100
        assert image.info["loop"] == 0


def test_a_gif_keeps_time_though_it_counts_in_hundredths(tmp_path) -> None:
    save_picture(ramp(30), tmp_path / "clip.gif", fps=12.7)
    with Image.open(tmp_path / "clip.gif") as image:
        durations_ms = []
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            durations_ms.append(image.info["duration"])
    assert len(durations_ms) == 30
    assert sum(durations_ms) == pytest.approx(30 / 12.7 * 1000, abs=10)


def test_an_mp4_keeps_time_and_plays_everywhere(tmp_path) -> None:
    save_picture(ramp(30, 16), tmp_path / "clip.mp4", fps=12.7)
    about = iio.immeta(tmp_path / "clip.mp4", plugin="pyav")
    assert about["duration"] == pytest.approx(30 / 12.7, abs=0.02)
    assert about["video_format"] == "yuv420p"
    assert about["codec"] == "h264"


def test_several_views_are_rows_of_a_strip_and_columns_of_a_film(tmp_path) -> None:
    frames = ramp(6)
    save_picture(frames, tmp_path / "strip.png", rows=2)
    strip = np.asarray(Image.open(tmp_path / "strip.png"))
    assert strip.shape == (30, 45, 3)
    assert strip[0, -1, 0] < strip[-1, 0, 0]
    film = side_by_side(frames, 2)
    assert film.shape == (3, 3, 15, 30)
    assert film[1, 0, 0, 0] == frames[1, 0, 0, 0]
    assert film[1, 0, 0, -1] == frames[4, 0, 0, 0]


def test_frames_as_webp_files_are_exact() -> None:
    noise = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    back = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in webp_frames(noise)]
    assert (np.stack(back) == to_bytes(noise)).all()


def test_an_mp4_has_the_frames_even_where_a_size_is_odd(tmp_path) -> None:
    save_picture(ramp(), tmp_path / "clip.mp4", fps=0.2)
    assert iio.imread(tmp_path / "clip.mp4", plugin="pyav").shape == (5, 16, 16, 3)


def test_frames_as_png_files_are_png_files() -> None:
    assert all(data.startswith(b"\x89PNG") for data in png_frames(ramp()))


def test_another_suffix_is_refused_before_anything_is_written(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"\.bmp"):
        save_picture(ramp(), tmp_path / "clip.bmp")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"clip\.gif: cannot be written"):
        save_picture(ramp(), tmp_path / "file" / "clip.gif")
    assert (tmp_path / "file").read_text() == "in the way"
