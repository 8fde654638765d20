"""What holds for every encoder, in its smallest size."""

from __future__ import annotations

import pytest
import torch
from support.device_waits import META, no_waits
from support.tiny_encoders import TINY, samples, tiny

from models import encoders

TEXTS = ["bert", "clip_text", "m3ae_text"]
LENGTHS = {"mlp": 1, "cnn": 4, "resnet18": 1, "resnet50": 1, "i3d": 1, "bert": 10, "clip_text": 10, "m3ae_text": 11}
LENGTHS |= {"clip_image": 5, "m3ae_image": 7, "cav_mae": 8, "conv1d": 3, "gru": 7, "patch_transformer": 3, "vit": 4}
LENGTHS |= {"timm": 6}
"""Number of tokens of a sample of the tiny encoders."""

every = pytest.mark.parametrize("name", TINY)


def test_every_encoder_is_here() -> None:
    assert sorted({*TINY, "timm"}) == encoders.names()


@every
def test_samples_become_features_and_gradients_reach_every_parameter(name: str) -> None:
    encoder = tiny(name)
    features = encoder(samples(name))
    assert features.shape == (3, encoder.out_dim)
    features.square().sum().backward()
    assert [path for path, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@every
def test_the_seed_and_the_state_decide_everything(name: str) -> None:
    first, second, x = tiny(name, seed=0), tiny(name, seed=0), samples(name)
    assert torch.equal(first(x), second(x))
    # Training draws nothing: any number of workers compute the same.
    assert torch.equal(first.train()(x), second.train()(x))
    other = tiny(name, seed=1)
    assert not torch.allclose(other.eval()(x), first.eval()(x))
    other.load_state_dict(first.state_dict())
    assert torch.equal(other(x), first(x))


@every
def test_in_evaluation_every_sample_stands_alone(name: str) -> None:
    encoder, x = tiny(name).eval(), samples(name)
    together = encoder(x)
    torch.testing.assert_close(torch.cat([encoder(each[None]) for each in x]), together, rtol=1e-3, atol=1e-4)
    assert encoder(x[:0]).shape == (0, encoder.out_dim)


@every
def test_half_precision_and_absent_modalities_give_numbers(name: str) -> None:
    encoder, x = tiny(name), samples(name)
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(x)
    assert features.isfinite().all()
    # Backward passes of wide convolutions in half precision take seconds on a CPU.
    if not name.startswith("resnet"):
        features.float().square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    assert encoder.eval()(torch.zeros(x.shape)).isfinite().all()


@every
def test_tokens_have_a_width_and_a_mask(name: str) -> None:
    encoder, x = tiny(name).eval(), samples(name)
    tokens, mask = encoder.tokens(x)
    assert tokens.shape == (3, LENGTHS[name], encoder.token_dim)
    assert mask.shape == tokens.shape[:2]
    assert mask.dtype == torch.bool
    if name not in TEXTS:
        assert mask.all()
    alone = torch.cat([encoder.tokens(each[None])[0] for each in x])
    torch.testing.assert_close(alone, tokens, rtol=1e-3, atol=1e-4)
    nothing, no_mask = encoder.tokens(x[:0])
    assert (nothing.shape, no_mask.shape) == ((0, *tokens.shape[1:]), (0, LENGTHS[name]))


MEANS = ["mlp", "resnet18", "resnet50", "i3d", "cav_mae", "m3ae_image", "conv1d", "gru", "patch_transformer", "vit"]


@pytest.mark.parametrize("name", MEANS)
def test_the_feature_is_the_mean_of_the_tokens(name: str) -> None:
    encoder, x = tiny(name).eval(), samples(name)
    torch.testing.assert_close(encoder.tokens(x)[0].mean(1), encoder(x))


def test_tokens_are_places_row_by_row_and_frame_after_frame() -> None:
    encoder, x = tiny("cnn").eval(), samples("cnn")
    maps = encoder.stem(x)
    for stage in encoder.stages:
        maps = stage(maps)
    rows = [maps[:, :, row, column] for row in range(2) for column in range(2)]
    assert torch.equal(encoder.tokens(x)[0], torch.stack(rows, dim=1))
    frames, x = encoders.build("resnet18", (3, 4, 64, 40)).eval(), torch.randn(2, 3, 4, 64, 40)
    one_by_one = [frames.tokens(x[:, :, t])[0] for t in range(4)]
    assert one_by_one[0].shape == (2, 2 * 2, 512)
    torch.testing.assert_close(frames.tokens(x)[0], torch.cat(one_by_one, dim=1), rtol=1e-3, atol=1e-4)


def test_tokens_of_class_scores_are_places_too() -> None:
    tokens, _ = tiny("resnet50", image_feature="class_scores").tokens(samples("resnet50"))
    assert tokens.shape == (3, 1, 2048)


@every
def test_a_blank_input_says_nothing(name: str) -> None:
    encoder, x = tiny(name), samples(name)
    blank = encoder.blank(x)
    assert (blank.shape, blank.dtype, blank.device) == (x.shape, x.dtype, x.device)
    assert x.any()
    assert not blank.any()
    features = encoder(blank)
    torch.testing.assert_close(features, features[:1].expand(3, -1))
    features.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    mask = encoder.tokens(blank)[1]
    assert (mask.sum(1) == (1 if name in TEXTS else LENGTHS[name])).all()
    if name in TEXTS:
        # The ids below the mask of a text without tokens do not count either.
        unmasked = torch.stack([x[:, 0], torch.zeros_like(x[:, 1])], dim=1)
        assert torch.equal(encoder(unmasked), encoder(blank))


@every
def test_a_step_never_waits_for_the_device(name: str) -> None:
    with META:  # draws no weights
        encoder = tiny(name)
    x = samples(name).to(META)
    with no_waits():
        encoder(x).square().sum().backward()
        encoder(encoder.blank(x))
        encoder.tokens(x)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("shape", [(), (5,), (0,), (2, 10), (2, 0), (1, 3, 9), (3, 32, 32), (1, 64, 32), (3, 4, 8, 8)])
def test_what_an_encoder_declares_is_what_it_takes(name: str, shape: tuple[int, ...]) -> None:
    spec = {"name": name, **TINY[name][0]}
    refusal = encoders.refusal(spec, shape, encoders.ENCODERS[name].reads_tokens)
    if refusal is None:
        with META:
            built = encoders.build(spec, shape)
        assert len(getattr(built, "stages", [])) == encoders.stage_count(spec)
    else:
        with pytest.raises(encoders.ShapeError) as caught:
            encoders.build(spec, shape)
        assert refusal.startswith(str(caught.value))


def test_a_refusal_names_the_encoders_that_fit() -> None:
    assert str(encoders.refusal("cnn", (5,))).endswith("; encoders that take it: mlp")
    assert str(encoders.refusal("cnn", (3, 8, 32, 32))).endswith(
        "; encoders that take it: i3d, mlp, resnet18, resnet50"
    )
    assert encoders.fitting((2, 100), tokens=True) == ["bert", "m3ae_text"]
    assert encoders.fitting((2, 100)) == ["conv1d", "gru", "mlp", "patch_transformer"]
    assert encoders.fitting((3, 3)) == ["gru", "mlp"]
    assert encoders.fitting((0,)) == []
    assert str(encoders.refusal("mlp", (0,))).endswith("it takes any with at least one number")


def test_token_ids_are_for_encoders_of_texts() -> None:
    said = "encoder mlp cannot take token ids, whole numbers [2, 9]; it takes measured numbers; encoders that take it: "
    assert encoders.refusal("mlp", (2, 9), tokens=True) == said + "bert, clip_text, m3ae_text"
    assert encoders.refusal("bert", (2, 9), tokens=True) is None


@every
def test_what_is_told_is_what_is_built(name: str) -> None:
    spec, shape = {"name": name, **TINY[name][0]}, TINY[name][1]
    with META:
        encoder = tiny(name)
    found = encoders.describe(spec, shape)
    assert (found["out_dim"], found["tokens"]) == (encoder.out_dim, [LENGTHS[name], encoder.token_dim])
    assert found["parameters"] == sum(parameter.numel() for parameter in encoder.parameters())
    with pytest.raises(ValueError, match=f"encoder {name} cannot take a sample of shape"):
        encoders.describe(spec, (0,))


def test_class_scores_leave_no_stages() -> None:
    assert encoders.stage_count("resnet50") == 4
    assert encoders.stage_count({"name": "resnet50", "image_feature": "class_scores"}) == 0


@pytest.mark.parametrize("name", [n for n in TINY if "pretrained" in encoders.ENCODERS[n].Options.model_fields])
def test_weights_to_start_from_have_a_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"encoder {name}, pretrained: .*at least 1 character"):
        encoders.resolve({"name": name, **TINY[name][0], "pretrained": ""})


@pytest.mark.parametrize("name", [name for name in TINY if "heads" in encoders.ENCODERS[name].Options.model_fields])
def test_heads_divide_the_width(name: str) -> None:
    with pytest.raises(ValueError, match=f"encoder {name}: 3 heads do not divide a width of 16$"):
        encoders.resolve({"name": name, **TINY[name][0], "heads": 3})
