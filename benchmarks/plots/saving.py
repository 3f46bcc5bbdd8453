"""Write pictures: PNG and SVG into a folder, or one file whose ending says its form.

The same picture is the same file each time: nothing in it depends on when it was drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svuprobe._files import write_bytes, write_text
from svuprobe._text import as_csv
from svuprobe.benchmarks.plots import style
from svuprobe.probe.protocol import ProbeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMS = (".png", ".svg", ".pdf")
# Of pictures, too: nobody means a folder by them.
_OTHERS = {".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".eps", ".ps", ".pgf"}
_IN_FOLDER = (".png", ".svg")
_DPI = 150


def is_file_name(out: Path) -> bool:
    """Tell whether a path names one picture, and not a folder of them.

    Raises ProbeError for a form of pictures that is not written.
    """
    if out.is_dir():
        return False
    if out.suffix.lower() in _OTHERS:
        raise ProbeError(
            f"{out}: pictures are written as {', '.join(_FORMS)}; name one, or a folder"
        )
    return out.suffix.lower() in _FORMS


def save(
    draw: Callable[[Figure], None],
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    one_file: bool = False,
) -> list[Path]:
    """Draw a picture and write it, with its numbers as CSV beside it.

    Parameters
    ----------
    draw
        Draws on an empty figure.
    out
        The file, if it is ``one_file``; else a path that gets the endings of all.
    rows
        The lines of the CSV.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if one_file:
        paths, table = [out], out.with_suffix(".csv")
    else:
        paths = [out.with_name(out.name + suffix) for suffix in _IN_FOLDER]
        table = out.with_name(f"{out.name}.csv")
    # Settings hold within this block alone: a caller's own pictures are left as they are.
    with matplotlib.rc_context(style.STYLE):
        # Not through pyplot, which keeps figures until they are closed, and may open windows.
        figure = Figure(dpi=_DPI)
        draw(figure)
        for path in paths:
            # First into memory: on a full disk matplotlib's PDF ends in an error of its own.
            write_bytes(path, _printed(figure, path.suffix.lower()))
            # Where things stand is found once: the other forms show the same picture, in half
            # the time.
            figure.set_layout_engine("none")
    write_text(table, as_csv(rows, list(dict.fromkeys(name for row in rows for name in row))))
    return [*paths, table]


def _printed(figure: Figure, suffix: str) -> bytes:
    """Return a figure as the bytes of a file.

    ``savefig`` would draw everything twice, the first time to no end but its layout, which the
    second finds as well.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    content = io.BytesIO()
    if suffix == ".png":
        FigureCanvasAgg(figure).print_png(content)
    elif suffix == ".svg":
        FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None})
    else:
        FigureCanvasPdf(figure).print_pdf(content, metadata={"CreationDate": None})
    return content.getvalue()
