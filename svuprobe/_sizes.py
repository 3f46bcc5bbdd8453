"""Write numbers of bytes for a reader."""

from __future__ import annotations


def size_text(size: float) -> str:
    """Return bytes for a reader, ``1.5 GiB``."""
    # Powers of 1024, as memory and disks of Linux are counted.
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:.0f} {units[0]}"


def gib(size: float) -> str:
    """Return bytes in GiB, for sizes that a reader compares."""
    return f"{size / 2**30:.3g} GiB"
