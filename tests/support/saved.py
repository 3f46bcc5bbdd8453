"""Save models of transformers as they are published, with weights of which every part counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import seeded
import torch


def filled(model: Any) -> Any:
    """Give a model of transformers seeded weights, statistics of batch norms included."""
    state = model.state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items() if value.is_floating_point()}
    drawn = {key: torch.from_numpy(value) for key, value in seeded.weights(shapes).items()}
    model.load_state_dict({**state, **drawn})
    return model.eval()


def published(folder: Path, model: Any, extractor: Any = None, **options: Any) -> str:
    """Save a model and its feature extractor by transformers' own code; return its name."""
    model.save_pretrained(folder, **options)
    if extractor is not None:
        extractor.save_pretrained(folder)
    return f"hf:{folder}"


def edit(folder: Path, file: str, **entries: Any) -> None:
    """Change entries of a JSON file of a checkpoint."""
    path = folder / file
    content = {**json.loads(path.read_text(encoding="utf-8")), **entries}
    path.write_text(json.dumps(content), encoding="utf-8")


def padded(clips: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch of clips, and their lengths."""
    lengths = torch.tensor([len(clip) for clip in clips])
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths


def relative_error(values: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the norm of the difference over the norm of what is expected, of equal shapes."""
    assert values.shape == expected.shape, (values.shape, expected.shape)
    return float((values.float() - expected.float()).norm() / expected.float().norm())
