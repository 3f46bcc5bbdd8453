"""VocalSet (Wilkins et al. 2018): 20 singers, 17 techniques, 10.1 hours, CC BY 4.0.

Layout (version 1.1):
``FULL/<female1..9|male1..11>/<arpeggios|scales|long_tones|excerpts>/<technique>/*.wav``. Singer and
technique come from the folders: at least 28 files are misnamed, mostly without their singer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from svuprobe.tasks.types import TaskError, Windowing, natural_key

DATASET = "vocalset"
HOURS = 10.1
LICENCE = "CC BY 4.0"
REFERENCE = "Wilkins et al. 2018, VocalSet, https://zenodo.org/records/1203819"
SINGERS = tuple(f"female{n}" for n in range(1, 10)) + tuple(f"male{n}" for n in range(1, 12))
TECHNIQUES = (
    *(
        "belt",
        "breathy",
        "fast_forte",
        "fast_piano",
        "forte",
        "inhaled",
        "lip_trill",
        "messa",
        "pp",
        "slow_forte",
    ),
    *("slow_piano", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry"),
)
CONTEXTS = ("arpeggios", "excerpts", "long_tones", "scales")

# PROTOCOLS: 3.0 s windows, silence trimmed at both ends, a tail of
# at least 1 s kept. The tail keeps its own length instead of being
# padded to 3 s: the zeros would be averaged into its features.
WINDOWING = Windowing(window_s=3.0, tail_s=1.0, trim=True)

# Duplicates and recordings that the paper's Table 2 does not list (found by MARBLE's authors).
_DROPPED = {
    "vibrato": {
        "f2_scales_vibrato_a(1)",
        "caro_vibrato",
        "dona_vibrato",
        "row_vibrato",
        "slow_vibrato_arps",
    }
}


@dataclass(frozen=True)
class Recording:
    """Describe one file of VocalSet; ``id`` is its path below ``FULL`` without the suffix."""

    id: str
    path: Path
    singer: str
    context: str
    technique: str


def recordings(root: Path) -> list[Recording]:
    """Return all recordings in natural order, without duplicates and the archive's junk files."""
    full = root / "FULL"
    if not full.is_dir():
        raise TaskError(
            f"{root}: no folder FULL in it; VocalSet 1.1 unpacks to FULL/<singer>/<context>/..."
        )
    found = []
    for path in sorted(full.glob("*/*/*/*"), key=lambda p: natural_key(p.as_posix())):
        singer, context, technique = path.relative_to(full).parts[:3]
        known = singer in SINGERS and context in CONTEXTS and technique in TECHNIQUES
        # Archives made on macOS hold a file "._NAME" beside each.
        audio = path.suffix.lower() == ".wav" and not path.name.startswith("._")
        if known and audio and path.stem not in _DROPPED.get(technique, ()):
            name = path.relative_to(full).with_suffix("").as_posix()
            found.append(Recording(name, path, singer, context, technique))
    return found
