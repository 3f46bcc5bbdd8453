"""Tell what a stage does while it runs: lines, and bars that show how far it is.

A `Reporter` is made at the edge, where it is known who watches, and handed on as one argument. A
stage asks it for what it needs and never looks whether anybody listens: without a listener lines
and bars do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, TypeVar

from svuprobe._show import shown

T = TypeVar("T")


class Bar(Protocol):
    """Show progress as tqdm does: a context that is told of each step."""

    def __enter__(self) -> Bar:
        """Begin to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """End to show, however the work ended."""
        ...

    def update(self, n: float = 1) -> object:
        """Move on by ``n`` units."""
        ...

    def set_postfix(self, *, refresh: bool = True, **values: object) -> None:
        """Show values beside the bar, as a loss."""
        ...


# Tests and the interface of Python are silent by default: nothing is drawn that nobody asked for.
class _NoBar:
    """Be a bar that nobody sees."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, n: float = 1) -> None:
        pass

    def set_postfix(self, *, refresh: bool = True, **values: object) -> None:
        pass


def _ignore(line: str) -> None:
    pass


@dataclass(frozen=True)
class Reporter:
    """Tell whoever watches what goes on; nobody, if made without arguments.

    Attributes
    ----------
    say
        Takes each line of text.
    make_bar
        Makes a bar as ``tqdm`` does, around an iterable or from a ``total``.
    title
        Stands before bars that have no words of their own.
    """

    say: Callable[[str], object] = _ignore
    make_bar: Callable[..., Any] | None = None
    title: str = ""

    __repr__ = shown

    def titled(self, title: str) -> Reporter:
        """Return a reporter whose bars carry a title."""
        return replace(self, title=title)

    def bar(
        self,
        total: float | None,
        desc: str = "",
        unit: str = "it",
        *,
        initial: float = 0,
        scaled: bool = False,
    ) -> Bar:
        """Return a bar of ``total`` units (None: not known); ``scaled`` shortens numbers to
        thousands.
        """
        if self.make_bar is None:
            return _NoBar()
        bar: Bar = self.make_bar(
            total=total, initial=initial, desc=desc or self.title, unit=unit, unit_scale=scaled
        )
        return bar

    def watch(
        self, items: Iterable[T], desc: str = "", total: int | None = None, unit: str = "it"
    ) -> Iterable[T]:
        """Return items with a bar that moves as they are taken; ``total`` where they have no
        length.
        """
        if self.make_bar is None:
            return items
        # (tqdm has no types; the annotation says what it gives back.)
        watched: Iterable[T] = self.make_bar(items, total=total, desc=desc or self.title, unit=unit)
        return watched


SILENT = Reporter()
