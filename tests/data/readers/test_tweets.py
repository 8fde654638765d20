"""Forms of a tweet: the tokens of its text, and its image, as the profile says."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from data.prepared.forms import Tokens
from data.readers.tweets import AS_IT_IS, AUGMENTED, BERT, CLIP, TweetOptions, TweetProfile


def options(tokenizer: str | None = None) -> TweetOptions:
    return TweetOptions.model_validate({"root": "tweets", "tokenizer": tokenizer})


def test_a_tweet_is_fifty_word_pieces_with_the_augmented_image_unless_a_profile_says_otherwise() -> None:
    forms = TweetProfile().forms(options())
    assert list(forms) == ["text", "image"]
    assert forms["text"] == Tokens(tokenizer=BERT, length=50, special_tokens=True, pair=False)
    assert forms["image"] == AUGMENTED
    assert TweetProfile().words("A $T$ b") == "A $T$ b"
    assert TweetProfile().encoders == {"text": "bert", "image": "resnet50"}


def test_a_profile_has_its_own_length_tokenizer_and_image() -> None:
    profile = TweetProfile(AS_IT_IS, 77, special_tokens=False, tokenizer=CLIP)
    forms = profile.forms(options(), pair=True)
    assert forms["text"] == Tokens(tokenizer=CLIP, length=77, special_tokens=False, pair=True)
    assert forms["image"] == AS_IT_IS


def test_the_tokenizer_of_a_user_takes_the_place_of_the_profiles() -> None:
    text = TweetProfile(tokenizer=CLIP).forms(options("my/tokenizer"))["text"]
    assert isinstance(text, Tokens)
    assert text.tokenizer == "my/tokenizer"
    with pytest.raises(ValidationError):
        options("")


def test_images_that_cannot_be_read_are_grey_and_those_of_amss_are_as_they_are() -> None:
    assert AUGMENTED.grey_if_unreadable
    assert AS_IT_IS.grey_if_unreadable
    assert (AUGMENTED.normalise, AUGMENTED.crop_scale, AUGMENTED.flip, AUGMENTED.randaugment) == (
        "clip", (0.5, 1.0), True, True,
    )  # fmt: skip
    assert not AS_IT_IS.augmented
    assert AS_IT_IS.size == AS_IT_IS.stored_size == 224
