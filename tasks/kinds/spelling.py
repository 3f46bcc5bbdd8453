"""Turn texts into sequences of symbols and back, and count the errors of one against another.

Conventions
-----------
**Text** is written in one way first: composed characters (NFC), every run of blanks and ends of
lines as one blank, none at either end. With ``casefold`` case is dropped as Unicode folds it (ß
becomes ss). Nothing else is changed: no punctuation is removed, no number spelt out.

**Symbols** are the text's characters, of which the blank between words is one; or its tokens, which
blanks separate (or ``|``, in a text without blanks: a list in a table is joined by it), as phonemes
are written. An alphabet of characters always has the blank, one of tokens never.

**Errors** are the fewest insertions, deletions and substitutions that make the reference of an
answer (Levenshtein), counted by rapidfuzz; jiwer counts with it, too, and a test compares. Of
characters, blanks that an answer begins or ends with, or doubles, are left out first, as they are
in references.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from svuprobe.tasks.sheets import normal

BLANK = " "
UNITS = ("character", "token")


def symbols_of(text: str, unit: str, casefold: bool = False) -> tuple[str, ...]:
    """Return the symbols of a text: its characters or its tokens.

    Parameters
    ----------
    unit
        One of ``UNITS``.

    Examples
    --------
    >>> symbols_of("The  cat", "character", casefold=True)
    ('t', 'h', 'e', ' ', 'c', 'a', 't')
    >>> symbols_of("DH AH0 K", "token")
    ('DH', 'AH0', 'K')
    """
    text = normal(text.casefold() if casefold else text)
    if unit == "character":
        return tuple(text)
    tokens = text.split(BLANK) if BLANK in text else text.split("|")
    return tuple(token for token in tokens if token)


def alphabet_of(sequences: Iterable[Sequence[str]], unit: str) -> tuple[str, ...]:
    """Return the sorted symbols of some sequences; of characters always with the blank."""
    found = {BLANK} if unit == "character" else set()
    return tuple(sorted(found.union(*sequences)))


def text_of(symbols: Sequence[str], labels: Sequence[str]) -> str:
    """Return symbols as a text, of a task with these labels: characters if the blank is one."""
    if BLANK not in labels:
        return BLANK.join(symbols)
    return normal("".join(symbols))


def shown(symbol: str) -> str:
    """Return a symbol as it can be seen."""
    return "␣" if symbol == BLANK else symbol


def errors(reference: Sequence[str], answer: Sequence[str]) -> int:
    """Count the fewest edits between two sequences, of characters or of tokens."""
    from rapidfuzz.distance import Levenshtein

    return int(Levenshtein.distance(reference, answer))
