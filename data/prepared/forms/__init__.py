"""How a modality is stored and served: one module a kind of medium, one class a form. A medium comes in; arrays of
fixed shape go to the cache, and batches of them, augmented in training, come back from there. A form's ``repr`` and
version enter the key of every cache: whoever changes what it stores raises its version."""

from __future__ import annotations

from data.prepared.forms.base import Arrays, Form, Stored
from data.prepared.forms.gestures import Flow, GestureClip
from data.prepared.forms.pictures import Frames, Image
from data.prepared.forms.sound import FilterBank, Spectrogram
from data.prepared.forms.tokens import Tokens

__all__ = ["Arrays", "FilterBank", "Flow", "Form", "Frames", "GestureClip", "Image", "Spectrogram", "Stored", "Tokens"]
