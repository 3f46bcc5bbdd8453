"""State when MARBLE v1 (Yuan et al. 2023) stops training, as its base configurations have it.

It stops beats by their F, where this project takes the loss.
"""

from __future__ import annotations

# Task -> epochs at most; epochs that torch's ReduceLROnPlateau bears before it acts in the next;
# epochs without a better score until training stops.
MARBLE_STOPPING = {
    "tagging": (100, 3, 10),
    "key": (100, 5, 20),
    "genre": (100, 6, 20),
    "emotion": (100, 5, 20),
    "instrument": (50, 3, 10),
    "pitch": (50, 3, 10),
    "technique": (100, 5, 10),
    "technique-marble": (100, 5, 10),
    "singer": (100, 5, 20),
    "beat": (100, 6, 20),
    "mtg-instrument": (100, 3, 10),
    "mtg-moodtheme": (100, 3, 10),
    "mtg-genre": (100, 3, 10),
    "mtg-top50": (100, 3, 10),
}
