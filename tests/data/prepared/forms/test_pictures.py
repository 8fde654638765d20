from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.batches_of_forms import assert_a_device_is_served_the_same
from support.media_files import noise, serve, shaded, write_picture, write_video

from data.augment.crops import crop, draw_crops, draw_flips
from data.media import MediaError
from data.prepared.cache.store import SampleStore
from data.prepared.forms import Form, Frames, Image, pictures
from data.prepared.forms.columns import ArrayColumn
from data.prepared.forms.pictures import IMAGENET, STANDARDS, middles, standardise

MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def folder(root: Path, count: int, height: int = 24, width: int = 32) -> tuple[Path, ...]:
    """Frames of one shade each: 10, 20, ..."""
    shades = [np.full((height, width, 3), 10 * (k + 1), np.uint8) for k in range(count)]
    return tuple(write_picture(root / f"{29 * k:05d}.png", pixels) for k, pixels in enumerate(shades))


def shades(batch: torch.Tensor) -> list[list[int]]:
    """Which frame of its folder each served one is: [B, T]."""
    pixels = (batch * STD.unsqueeze(1) + MEAN.unsqueeze(1)) * 255
    return (pixels.mean((1, 3, 4)) / 10 - 1).round().int().tolist()


def test_the_middle_frame_of_each_segment() -> None:
    assert middles(6, 1) == [3]
    assert middles(6, 2) == [1, 4]
    assert middles(10, 3) == [1, 5, 8]
    assert middles(2, 3) == [0, 1, 1]
    assert middles(5, 5) == [0, 1, 2, 3, 4]


# Single pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", ["imagenet", "clip", "m3ae", None])
def test_evaluation_is_torchvisions_pipeline(tmp_path: Path, normalise: str | None) -> None:
    from PIL import Image as Pillow
    from torchvision import transforms as T

    path = write_picture(tmp_path / "a.jpg", noise(40, 56))
    steps = [T.Resize((32, 32)), T.ToTensor()]
    if normalise is not None:
        steps.append(T.Normalize(*STANDARDS[normalise]))
    form = Image(size=32, normalise=normalise)  # type: ignore[arg-type]
    column = serve(form, [path], "test", tmp_path)
    with Pillow.open(path) as picture:
        expected = T.Compose(steps)(picture.convert("RGB"))
    assert torch.allclose(column.gather(torch.tensor([0]), "cpu")[0], expected, atol=1e-6)
    assert column.shape == (3, 32, 32)
    assert torch.equal(column.draw(torch.tensor([0]), "cpu", seeded()), column.gather(torch.tensor([0]), "cpu"))


def test_training_draws_the_crop_in_the_pictures_own_geometry(tmp_path: Path) -> None:
    """A very flat picture, stored as a square, is cropped to its full height and a narrow part of its width."""
    ramp = np.broadcast_to((np.arange(256) // 2).astype(np.uint8)[None, :, None], (8, 256, 3)).copy()
    path = write_picture(tmp_path / "a.png", ramp)
    form = Image(size=8, stored_size=256, normalise=None, crop_scale=(1.0, 1.0), flip=False)
    column = serve(form, [path], "train", tmp_path)
    pixels = column.draw(torch.zeros(4, dtype=torch.int64), "cpu", seeded())[:, 0] * 255
    spread = pixels[:, :, -1] - pixels[:, :, 0]
    # Eleven of 256 columns (8 * 4/3), a shade every second one: seven eighths of them from the first pixel to the last.
    assert torch.allclose(spread, torch.tensor(11 * 7 / 8 / 2), atol=0.7)


def test_training_changes_pictures_by_seed_alone(tmp_path: Path) -> None:
    paths = [write_picture(tmp_path / f"{k}.png", noise(40, 56, k)) for k in range(5)]
    for form in (Image(size=16, stored_size=24), Image(size=16, stored_size=24, randaugment=True, normalise="clip")):
        column = serve(form, paths, "train", tmp_path)
        index = torch.tensor([3, 0, 4, 2, 1])
        joint = column.draw(index, "cpu", seeded())
        assert joint.shape == (5, 3, 16, 16)
        assert torch.equal(joint, column.draw(index, "cpu", seeded()))
        assert not torch.equal(joint, column.draw(index, "cpu", seeded(1)))
        parts = [column.draw(index, "cpu", seeded(), part) for part in (slice(0, 3), slice(3, 5))]
        assert torch.equal(joint, torch.cat(parts))
        resident = column.resident("cpu")
        assert torch.equal(joint, resident.draw(index, "cpu", seeded()))


def test_without_augmentation_training_and_evaluation_agree(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png", noise(40, 56))
    form = Image(size=32, stored_size=32, crop_scale=None, flip=False)
    train, test = (serve(form, [path], split, tmp_path / split) for split in ("train", "test"))  # type: ignore[arg-type]
    index = torch.tensor([0])
    expected = test.gather(index, "cpu")
    assert torch.equal(train.gather(index, "cpu"), expected)
    assert torch.allclose(train.draw(index, "cpu", seeded()), expected, atol=1e-5)


def test_evaluating_training_pictures_shrinks_what_is_stored(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png", noise(64, 64))
    column = serve(Image(size=16, stored_size=32, normalise=None), [path], "train", tmp_path)
    plain = serve(Image(size=16, normalise=None), [path], "test", tmp_path)
    index = torch.tensor([0])
    assert torch.allclose(column.gather(index, "cpu"), plain.gather(index, "cpu"), atol=0.08)


def test_unreadable_pictures_become_grey_and_are_counted_where_that_is_allowed(tmp_path: Path) -> None:
    good, bad = write_picture(tmp_path / "a.png", noise(8, 8)), tmp_path / "b.jpg"
    bad.write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"b\.jpg: not a picture"):
        Image(size=8).decode(bad, "test")
    for split in ("train", "test"):
        form = Image(size=8, stored_size=8, normalise=None, grey_if_unreadable=True)
        column = serve(form, [good, bad], split, tmp_path)  # type: ignore[arg-type]
        assert isinstance(column, ArrayColumn)
        assert list(form.remarks(column.arrays, torch.tensor([1, 1, 0]))) == [(2, "are grey, unreadable")]
        assert torch.allclose(column.draw(torch.tensor([1]), "cpu", seeded()), torch.tensor(128 / 255))


def test_a_truncated_picture_is_refused_only_on_request(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.jpg", noise(64, 64))
    path.write_bytes(path.read_bytes()[:1500])
    assert Image(size=8).decode(path, "test")["picture"].shape == (8, 8, 3)
    with pytest.raises(MediaError, match="truncated"):
        Image(size=8, allow_truncated=False).decode(path, "test")


def test_odd_pictures_are_served(tmp_path: Path) -> None:
    kinds = [(1, 1, "RGB"), (1, 300, "L"), (9, 7, "RGBA"), (300, 1, "P")]
    paths = [write_picture(tmp_path / f"{k}.png", noise(h, w), mode) for k, (h, w, mode) in enumerate(kinds)]
    paths.append(write_picture(tmp_path / "c.jpg", noise(16, 16), "CMYK"))
    column = serve(Image(size=16, stored_size=24, randaugment=True), paths, "train", tmp_path)
    index = torch.arange(5).repeat(8)
    assert torch.isfinite(column.draw(index, "cpu", seeded())).all()


# Frames -------------------------------------------------------------------------------------------------------------


def test_evaluation_serves_the_middle_frames(tmp_path: Path) -> None:
    clips = [folder(tmp_path / str(count), count) for count in (6, 3, 1)]
    form = Frames(frames=2, size=16)
    column = serve(form, clips, "test", tmp_path)
    batch = column.gather(torch.tensor([0, 1, 2]), "cpu")
    assert column.shape == (3, 2, 16, 16)
    assert batch.shape == (3, 3, 2, 16, 16)
    assert shades(batch) == [[1, 4], [0, 2], [0, 0]]


def test_evaluation_opens_only_the_frames_it_serves(tmp_path: Path) -> None:
    clip = folder(tmp_path, 5)
    clip[0].write_bytes(b"")
    assert Frames(frames=1, size=16).decode(clip, "test")["frames"].shape == (1, 16, 16, 3)
    with pytest.raises(MediaError, match=r"00000\.png: the file is empty"):
        Frames(frames=1, size=16).decode(clip, "train")


def test_training_draws_a_frame_of_each_segment(tmp_path: Path) -> None:
    clips = [folder(tmp_path / str(count), count) for count in (6, 2)]
    column = serve(Frames(frames=3, size=16, stored_size=24), clips, "train", tmp_path)
    found = shades(column.draw(torch.tensor([0, 1] * 60), "cpu", seeded()))
    assert {tuple(row) for row in found[::2]} == {(a, b, c) for a in (0, 1) for b in (2, 3) for c in (4, 5)}
    assert {tuple(row) for row in found[1::2]} == {(0, 0, 1), (0, 1, 1)}
    assert shades(column.gather(torch.tensor([0, 1]), "cpu")) == [[1, 3, 5], [0, 1, 1]]


def test_the_largest_number_that_is_drawn_still_names_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just below one it becomes one, once the number of a segment is added to it."""

    def largest(shape: tuple[int, ...], limits: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
        return torch.full(shape, 1 - 2.0**-53, dtype=torch.float64)

    form = Frames(frames=3, size=16, stored_size=16, random_crop=False, flip=False)
    column = serve(form, [folder(tmp_path / "a", 6)], "train", tmp_path)
    monkeypatch.setattr(pictures, "uniform", largest)
    assert shades(column.draw(torch.tensor([0]), "cpu", seeded())) == [[1, 4, 5]]


def test_long_clips_are_thinned_for_training(tmp_path: Path) -> None:
    form = Frames(frames=1, size=16, stored_size=16, most=3)
    arrays = form.decode(folder(tmp_path, 9), "train")
    assert arrays["count"].tolist() == [3]
    assert arrays["size"].tolist() == [24, 32]
    assert (arrays["frames"].mean((1, 2, 3)) / 10 - 1).tolist() == [1, 4, 7]


def test_each_frame_has_its_own_crop_and_workers_agree(tmp_path: Path) -> None:
    pixels = noise(24, 32)
    clips = [tuple(write_picture(tmp_path / f"{k}-{t}.png", pixels) for t in range(3)) for k in range(4)]
    column = serve(Frames(frames=2, size=16, stored_size=24), clips, "train", tmp_path)
    index = torch.tensor([3, 1, 2, 0])
    joint = column.draw(index, "cpu", seeded())
    assert not torch.equal(joint[:, :, 0], joint[:, :, 1])
    parts = [column.resident("cpu").draw(index, "cpu", seeded(), part) for part in (slice(0, 1), slice(1, 4))]
    assert torch.equal(joint, torch.cat(parts))
    plain = serve(Frames(frames=2, size=16, stored_size=24, random_crop=False, flip=False), clips, "train", tmp_path)
    assert torch.allclose(plain.draw(index, "cpu", seeded()), plain.gather(index, "cpu"))


def test_a_frame_is_cropped_as_the_papers_say(tmp_path: Path) -> None:
    """To 8 to 100 % of its area, then flipped or not; and what is random comes in this order."""
    clips = [
        tuple(write_picture(tmp_path / f"{k}-{t}.png", noise(24, 32, 3 * k + t)) for t in range(3)) for k in (0, 1)
    ]
    form = Frames(frames=2, size=16, stored_size=24)
    column = serve(form, clips, "train", tmp_path)
    assert isinstance(column, ArrayColumn)
    index, generator = torch.tensor([1, 0, 1]), seeded()
    within = torch.rand((3, 2), generator=generator, dtype=torch.float64)
    boxes = draw_crops(torch.tensor([[24, 32]]).expand(6, 2), generator, (0.08, 1.0))
    flips = draw_flips(6, generator)
    places = ((torch.arange(2) + within) * 3 / 2).long().clamp(max=2)
    chosen = column.arrays["frames"][index[:, None], places].flatten(0, 1).permute(0, 3, 1, 2)
    expected = standardise(crop(chosen, boxes, 16, flips), *IMAGENET).unflatten(0, (3, 2)).transpose(1, 2)
    assert torch.equal(column.draw(index, "cpu", seeded()), expected)


def test_what_is_stored_of_pictures_has_its_name_until_its_decoding_changes() -> None:
    """Another name makes every user decode everything again."""
    names = [SampleStore.of(form, split).name for form in (Image(), Frames(frames=3)) for split in ("train", "test")]  # type: ignore[arg-type]
    assert names == [
        "samples-image-4ab51e8e87bade6f",
        "samples-image-9f24d3d23592a2b5",
        "samples-frames-872fd3de2f8bf8c7",
        "samples-frames-78b40ad3d7f3ff92",
    ]


def test_a_video_gives_the_frames_of_its_seconds(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", shaded(25, step=8), 10)
    form = Frames(frames=3, size=16, stored_size=16)
    arrays = form.decode(path, "train")
    assert arrays["count"].tolist() == [3]
    assert arrays["size"].tolist() == [48, 64]
    assert np.allclose(arrays["frames"].mean((1, 2, 3)), [16, 96, 176], atol=2)
    assert np.array_equal(form.decode(path, "test")["frames"], arrays["frames"])


def test_clips_of_too_few_frames_are_refused(tmp_path: Path) -> None:
    clip = folder(tmp_path / "stem", 3)
    with pytest.raises(MediaError, match=r"stem: 3 frames, at least 4 are needed"):
        Frames(frames=3, least=4).decode(clip, "train")
    with pytest.raises(MediaError, match="a clip: 0 frames, at least 1 are needed"):
        Frames(frames=3).decode((), "train")


# Devices ----------------------------------------------------------------------------------------------------------

FORMS = [
    Image(size=16, stored_size=24),
    Image(size=16, stored_size=24, randaugment=True, normalise=None),
    Image(size=16, stored_size=16, crop_scale=None, normalise="clip"),
    Frames(frames=1, size=16, stored_size=24, most=4),
    Frames(frames=3, size=16, stored_size=24, most=4, flip=False),
    Frames(frames=2, size=16, stored_size=24, most=4, random_crop=False),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_device_is_served_what_the_host_is(form: Form, split: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_a_device_is_served_the_same(form, pictures, split, monkeypatch)
