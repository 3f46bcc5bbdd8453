"""Define what a text in a result may be, as types that carry their test.

Whoever reads a file checks it by these, without another list of keys.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated


# As Python reads ISO 8601; 3.10 takes no Z, which no result has.
def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


# What a text has to be, and the words for one that is not.
Text = Annotated[str, bool, "text"]
# Becomes part of a path.
Name = Annotated[str, re.compile(r"[^\x00-\x1f/\\]{1,300}").fullmatch, "name"]
Digest = Annotated[str, re.compile("[0-9a-f]{1,128}").fullmatch, "digest"]
# Each type carries its test: whoever reads a file checks it without another list of keys.
Unit = Annotated[str, ("clip", "window").__contains__, "word of clip and window"]
Date = Annotated[str, _is_date, "date"]

Matrix = tuple[tuple[float, ...], ...]
