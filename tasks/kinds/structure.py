"""Ask for structure: sections of a recording, each with its function, one after the other.

Scores are label accuracy, the share of the annotated time whose section is named rightly, as Wang
et al. 2022 and MARBLE count it, and mir_eval's: boundaries within 0.5 and 3 s, the first and last
left out as they are known, and pairwise agreement of frames of 0.1 s, which asks for equal labels
in equal sections and not for their names.

References
----------
Levy & Sandler, "Structural segmentation of musical audio by constrained clustering", IEEE TASLP
2008 (pairwise); Turnbull et al., "A supervised approach for detecting boundaries in music using
difference features and boosting", ISMIR 2007 (boundaries); Wang et al., "To catch a chorus, verse,
intro, or anything else", ICASSP 2022 (functions); Raffel et al., "mir_eval", ISMIR 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from svuprobe.tasks.kinds.intervals import ExclusiveKind, on_one_span
from svuprobe.tasks.kinds.labelled import LabelledIntervals

_NOTHING = ""  # no label: what an estimate says where it says nothing


@dataclass(frozen=True)
class Structure(LabelledIntervals, ExclusiveKind):
    """Take tuples of ``(start_s, end_s, label)`` as targets, of which one holds at a time."""

    name = "structure"
    noun = "section"
    namespaces = ("segment_open", "segment_*", "multi_segment")
    metrics = ("label_accuracy", "boundary_f_500ms", "boundary_f_3s", "pairwise_f")
    activation_name = "P(section)"

    def score(self, reference: Sequence[Any], estimate: np.ndarray) -> dict[str, float]:
        """Return all metrics of one clip; of one without sections, 1 where none is found."""
        from mir_eval import segment, util

        if not len(reference):
            return dict.fromkeys(self.metrics, float(not len(estimate)))
        found = [
            (start, end, self.labels_[int(number)]) for start, end, number in estimate.tolist()
        ]
        spans, names, est_spans, est_names = on_one_span(reference, found, _NOTHING)
        merged, ref_each, est_each = util.merge_labeled_intervals(
            spans, names, est_spans, est_names
        )
        seconds = util.intervals_to_durations(merged)
        said = np.array([name != _NOTHING for name in ref_each])
        right = np.array([a == b for a, b in zip(ref_each, est_each, strict=True)])
        boundaries = []
        for window in (0.5, 3.0):
            if min(len(spans), len(est_spans)) < 2:  # without inner boundaries on either side
                boundaries.append(float(len(spans) == len(est_spans)))
            else:
                boundaries.append(segment.detection(spans, est_spans, window, trim=True)[2])
        pairwise = 1.0  # one section is all there is to agree on
        if spans.max() > 0.2:  # two frames
            pairwise = segment.pairwise(spans, names, est_spans, est_names)[2]
        values = (np.average(right[said], weights=seconds[said]), *boundaries, pairwise)
        return dict(zip(self.metrics, map(float, values), strict=True))


STRUCTURE = Structure()
