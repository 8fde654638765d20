"""How a modality is stored and served: the base, and the forms of sound, pictures, gestures and text."""

from __future__ import annotations

from data.prepared.forms.base import Arrays, Form, Stored
from data.prepared.forms.gestures import Flow, GestureClip
from data.prepared.forms.pictures import Frames, Image
from data.prepared.forms.sound import FilterBank, Spectrogram
from data.prepared.forms.tokens import Tokens

__all__ = ["Arrays", "FilterBank", "Flow", "Form", "Frames", "GestureClip", "Image", "Spectrogram", "Stored", "Tokens"]
