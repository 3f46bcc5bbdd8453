"""Hide frames as fairseq's ``compute_mask_indices`` does, of clips of one length, from a seed.

Source: fairseq ``fairseq/data/data_utils.py`` with ``mask_selection="static"``, overlaps allowed
and no padding, as data2vec and HuBERT call it. The number of spans is drawn once for the whole
batch there too.
"""

from __future__ import annotations

import numpy as np


def mask_frames(
    rng: np.random.Generator,
    clips: int,
    frames: int,
    *,
    probability: float,
    span: int,
    least: int,
) -> np.ndarray:
    """Draw the masked frames of some clips: (clips, frames) bool, as many true in each.

    Parameters
    ----------
    rng
        Where the numbers come from.
    clips, frames
        Shape of the mask.
    probability
        Share of the frames that spans would cover if none overlapped. As they do, fewer are masked:
        about ``1 - (1 - probability / span) ** span`` of them, 0.49 for 0.65.
    span
        Frames of a span.
    least
        Fewest spans of a clip.
    """
    # The fraction is rounded up as often as it says, so that on average the share is kept.
    spans = max(least, int(probability * frames / span + rng.random()))
    mask = np.zeros((clips, frames), bool)
    if spans == 0:
        return mask
    # A span that starts near the end is cut off there only where fairseq runs out of other starts.
    starts = frames - span
    if starts <= spans:
        starts = min(frames, spans + 1)
    spans = min(spans, starts)
    masked: list[np.ndarray] = []
    for _ in range(clips):
        first = rng.choice(starts, spans, replace=False)
        covered = np.unique(first[:, None] + np.arange(span))
        masked.append(covered[covered < frames])
    # Overlaps differ from clip to clip; frames above the fewest are dropped at random, so that the
    # masked frames of a batch form a rectangle (fairseq's require_same_masks).
    # One frame at least is seen: fairseq ends with an error where there is none.
    fewest = min(frames - 1, *(len(each) for each in masked))
    for row, each in enumerate(masked):
        kept = each if len(each) == fewest else rng.choice(each, fewest, replace=False)
        mask[row, kept] = True
    return mask
