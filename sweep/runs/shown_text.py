"""Texts that people wrote (labels, values, paths, reasons), made safe for every place where they are shown: whatever
they hold, they stay texts. What a page does beyond that, its template does, which escapes all that it is given."""

from __future__ import annotations

import html
import re

_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Characters that no text has: they command terminals, turn around what stands beside them, or cannot be written."""

_SECRETS = re.compile(
    r"((?:^|[?&;])[\w.-]*(?:key|token|secret|passwd|password|pwd|credentials?|auth|signature)=)[^&;\s]+",
    re.IGNORECASE,
)


def unprintable(text: str) -> str | None:
    """Return the first character that no text has, as in U+001B; None where there is none."""
    found = _UNPRINTABLE.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


def printable(text: str) -> str:
    """Write what no text has as Python does, as in \\\\x1b, for terminals, figures and tables."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def for_plotly(text: str) -> str:
    """Write a text so that Plotly, which reads tags and numbers to fill in, shows it as it is."""
    return html.escape(printable(text), quote=False).replace("%{", "%\u200b{")


def for_spreadsheet(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would compute: a text that begins with =, +, -, @ or a control
    character and is no number."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def without_secrets(word: str) -> str:
    """Put *** for what a word of a command line keeps secret: the user of an address, and the value of what is called
    a key, token or password."""
    word = re.sub(r"(://)[^/@\s]*@", r"\1***@", word)
    return _SECRETS.sub(r"\1***", word)
