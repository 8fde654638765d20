from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.batches_of_forms import assert_a_device_is_served_the_same
from support.media_files import noise, serve, shaded, write_video

from data.media import MediaError
from data.prepared import Clip
from data.prepared.cache.store import SampleStore
from data.prepared.forms import Flow, Form, GestureClip, gestures
from data.prepared.forms.gestures import centre, crops, draw_corners, read_clip
from data.prepared.forms.pictures import IMAGENET

MEAN, STD = (torch.tensor(values).view(3, 1, 1, 1) for values in IMAGENET)
COLOUR = GestureClip(frames=8, start_range=2, stored_size=24, size=16)
DEPTH = GestureClip(channels=1, frames=8, start_range=2, stored_size=24, size=16)
FLOW = Flow(frames=10, stored_size=24, size=16)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Windows of two videos: a still picture that grows brighter by a shade each frame, each place with its own."""
    root, found = tmp_path_factory.mktemp("gestures"), []
    for number in range(2):
        # Large even tiles survive the codec.
        tiles = noise(3, 4, number).astype(int)[..., :1] // 2
        still = np.kron(tiles, np.ones((16, 16, 3), int))
        frames = (still[None] + 3 * np.arange(14)[:, None, None, None]).astype(np.uint8)
        found.append(Clip(write_video(root / f"{number}.avi", frames), 3, 13))
    return found


def test_shapes_in_training_and_evaluation(tmp_path: Path, clips: list[Clip]) -> None:
    for form, train, test in (
        (COLOUR, (3, 8, 16, 16), (3, 10, 16, 16)),
        (DEPTH, (1, 8, 16, 16), (1, 10, 16, 16)),
        (FLOW, (2, 10, 16, 16), (2, 10, 16, 16)),
    ):
        for split, shape in (("train", train), ("test", test)):
            column = serve(form, clips, split, tmp_path)  # type: ignore[arg-type]
            assert column.shape == shape
            for batch in (
                column.gather(torch.tensor([1, 0, 1]), "cpu"),
                column.draw(torch.tensor([1, 0, 1]), "cpu", seeded()),
            ):
                assert batch.shape == (3, *shape)
                assert batch.dtype == torch.float32
            assert column.stream == "gesture"


def test_the_defaults_are_the_papers() -> None:
    assert GestureClip().stored("train")["clip"].shape == (80, 3, 256, 256)
    assert GestureClip(channels=1).stored("test")["clip"].shape == (80, 1, 224, 224)
    assert Flow().stored("train")["clip"].shape == (80, 2, 256, 256)


def test_a_crop_is_a_cut_of_what_is_stored_and_shared_by_the_stream(tmp_path: Path, clips: list[Clip]) -> None:
    index = torch.tensor([1, 0, 1, 0, 0])
    corners = draw_corners(5, 2, 8, seeded(7))
    assert (corners >= 0).all()
    assert (corners <= torch.tensor([2, 8, 8])).all()
    colour, depth, flow = (serve(form, clips, "train", tmp_path / repr(form)[:32]) for form in (COLOUR, DEPTH, FLOW))
    drawn = [column.draw(index, "cpu", seeded(7)) for column in (colour, depth, flow)]
    for row, (start, top, left) in zip(range(5), corners.tolist(), strict=True):
        clip = clips[index[row]]
        rows, columns = slice(top, top + 16), slice(left, left + 16)
        stored = torch.from_numpy(COLOUR.decode(clip, "train")["clip"]).float() / 255
        expected = stored[start : start + 8, :, rows, columns].transpose(0, 1)
        assert torch.allclose(drawn[0][row], (expected - MEAN) / STD, atol=1e-5)
        assert torch.allclose(drawn[1][row], expected[:1], atol=1e-6)
        motion = torch.from_numpy(FLOW.decode(clip, "train")["clip"]).float()
        assert torch.allclose(drawn[2][row], motion[:, :, rows, columns].transpose(0, 1).clamp(-20, 20) / 20)


def test_evaluation_is_the_centre_of_all_frames(tmp_path: Path, clips: list[Clip]) -> None:
    stored = torch.from_numpy(DEPTH.decode(clips[0], "train")["clip"]).float() / 255
    test = serve(DEPTH, clips, "test", tmp_path).gather(torch.tensor([0]), "cpu")[0]
    assert torch.equal(test, stored[:, :, 4:20, 4:20].transpose(0, 1))
    train = serve(DEPTH, clips, "train", tmp_path).gather(torch.tensor([0]), "cpu")[0]
    assert torch.equal(train, test[:, 1:9])
    assert torch.allclose(test[0].mean((1, 2)).diff() * 255, torch.tensor(3.0), atol=1.0)


def test_workers_and_resident_columns_draw_the_same(tmp_path: Path, clips: list[Clip]) -> None:
    index = torch.tensor([1, 0, 1, 0])
    for form in (COLOUR, FLOW):
        column = serve(form, clips, "train", tmp_path / type(form).__name__)
        joint = column.draw(index, "cpu", seeded())
        parts = [column.resident("cpu").draw(index, "cpu", seeded(), part) for part in (slice(0, 1), slice(1, 4))]
        assert torch.equal(joint, torch.cat(parts))
        assert not torch.equal(joint, column.draw(index, "cpu", seeded(1)))


def test_corners_reach_every_place() -> None:
    corners = draw_corners(2000, 2, 8, seeded())
    assert set(corners[:, 0].tolist()) == {0, 1, 2}
    assert set(corners[:, 1].tolist()) == set(corners[:, 2].tolist()) == set(range(9))


def test_flow_is_bounded_and_its_last_frame_repeated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blobs = np.kron(rng.integers(0, 256, (12, 16, 1)), np.ones((4, 4, 3), int)).astype(np.uint8)
    frames = np.stack([np.roll(blobs, 2 * k, 1) for k in range(6)])
    clip = Clip(write_video(tmp_path / "a.avi", frames), 0, 6)
    form = Flow(frames=6, stored_size=48, size=32, bound=1.0)
    stored = form.decode(clip, "test")["clip"]
    assert stored.dtype == np.float16
    assert np.array_equal(stored[5], stored[4])
    assert not np.array_equal(stored[4], stored[3])
    # Two of 64 pixels, on squares of 48: 1.5 pixels to the right.
    assert np.median(stored[:, 0]) == pytest.approx(1.5, abs=0.3)
    assert np.median(stored[:, 1]) == pytest.approx(0, abs=0.3)
    served = serve(form, [clip], "test", tmp_path).gather(torch.tensor([0]), "cpu")
    assert served.max() == 1
    assert served.min() >= -1


def test_windows_of_another_length_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "sk_color.avi", shaded(12))
    with pytest.raises(MediaError, match=r"sk_color\.avi: a window of 9 frames, expected 10"):
        COLOUR.decode(Clip(path, 0, 9), "train")
    with pytest.raises(MediaError, match=r"sk_color\.avi: 12 frames, too few for the window from 5 to 15"):
        FLOW.decode(Clip(path, 5, 15), "train")


@pytest.mark.parametrize("before", [(), (2,), (2, 3), (2, 1, 2)])
def test_the_centre_is_cut_out_of_the_last_two_axes(before: tuple[int, ...]) -> None:
    values = np.broadcast_to(np.arange(35).reshape(5, 7), (*before, 5, 7))
    found = centre(values, 3)
    assert found.shape == (*before, 3, 3)
    assert (found == [[9, 10, 11], [16, 17, 18], [23, 24, 25]]).all()
    assert (centre(values, 4) == values[..., 0:4, 1:5]).all()  # an odd rest: nearer to the first row and column


def test_every_crop_is_a_view_found_by_its_corner() -> None:
    stored = torch.arange(2 * 5 * 2 * 6 * 6).view(2, 5, 2, 6, 6)
    view = crops(stored, 3, 4)
    assert view.shape == (2, 3, 2, 3, 3, 3, 4, 4)
    assert view.data_ptr() == stored.data_ptr()
    assert torch.equal(view[1, 2, :, 1, 0], stored[1, 2:5, :, 1:5, 0:4].transpose(0, 1))


def test_corners_follow_from_one_draw_of_the_generator() -> None:
    shares = torch.rand((6, 3), generator=seeded(3), dtype=torch.float64)
    assert torch.equal(draw_corners(6, 2, 8, seeded(3)), (shares * torch.tensor([3, 9, 9])).long())


def test_a_clip_is_its_window_of_frames_with_the_channels_first(clips: list[Clip]) -> None:
    whole = read_clip(clips[0], 10, 24)
    assert (whole.shape, whole.dtype, whole.flags["C_CONTIGUOUS"]) == ((10, 3, 24, 24), np.uint8, True)
    later = read_clip(Clip(clips[0].path, 5, 13), 8, 24)
    assert np.array_equal(later, whole[2:])


def test_what_is_stored_of_gestures_has_its_name_until_its_decoding_changes() -> None:
    """Another name makes every user decode everything again."""
    names = [SampleStore.of(form, split).name for form in (GestureClip(), Flow()) for split in ("train", "test")]  # type: ignore[arg-type]
    assert names == [
        "samples-gestureclip-9a0891c00c937363",
        "samples-gestureclip-66cb7ed32a87c718",
        "samples-flow-af84191254c03d2d",
        "samples-flow-894bc1191badcc97",
    ]


@pytest.mark.parametrize(
    "form",
    [
        GestureClip(frames=3, start_range=2, stored_size=12, size=8),
        GestureClip(frames=3, start_range=2, stored_size=12, size=8, channels=1),
        Flow(frames=3, stored_size=12, size=8, bound=1.5),
    ],
    ids=["colour", "depth", "flow"],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_device_is_served_what_the_host_is(form: Form, split: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_a_device_is_served_the_same(form, gestures, split, monkeypatch)
