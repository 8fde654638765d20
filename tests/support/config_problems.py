"""What a configuration is refused for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweep.config import ConfigError


def problem_lines(call: Callable[..., Any], *arguments: Any) -> list[str]:
    """Return the problems that a call is refused for, a line each."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value).splitlines()
