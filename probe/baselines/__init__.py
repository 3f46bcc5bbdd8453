"""Train supervised baselines from scratch on one task: what a frozen model has to beat.

Each is a torch module from audio to logits that owns its front end; see
`svuprobe.probe.baselines.base.Baseline`. The modules are loaded when one is asked for, so importing
this package needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from svuprobe._errors import did_you_mean
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks import kinds

if TYPE_CHECKING:
    from torch import nn

    from svuprobe.probe.baselines.base import Baseline

# name -> module:class
TABLE = {
    "crnn": "crnn:Crnn",
    "crnn-released": "crnn:CrnnReleased",
    "cnn1d": "cnn1d:Cnn1d",
    "oblong-cnn": "techniques:OblongCnn",
    "dcnn-crt": "techniques:DeformableCnn",
    "efficientnet-svt": "efficientnet:EfficientNetSvt",
    "jdcnote": "jdcnote:JdcNote",
    "wav2vec2-large-last": "wav2vec2:LastLayer",
}


def find(name: str) -> type[Baseline]:
    """Return the class of a baseline; an unknown name answers with the close matches."""
    if name not in TABLE:
        raise ProbeError(f"unknown baseline {name!r}; {did_you_mean(name, TABLE)}")
    module, _, attribute = TABLE[name].partition(":")
    found: type[Baseline] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found


def build(name: str, kind: str, n_outputs: int, encoder: nn.Module | None = None) -> Baseline:
    """Make a baseline with random weights (torch's global generator) for a task.

    Parameters
    ----------
    name
        Of ``TABLE``.
    kind, n_outputs
        Of the task, see `svuprobe.tasks.kinds`.
    encoder
        The pretrained model under a baseline that is only a head (``needs_encoder``); others take
        none.

    Raises
    ------
    ProbeError
        An unknown name, a task of a kind this baseline can't do, or an encoder missing or too many.
    """
    cls = find(name)
    if not isinstance(kinds.named(kind), cls.learns):
        learnt = [other for other in kinds.TABLE if isinstance(kinds.named(other), cls.learns)]
        able = [other for other in TABLE if isinstance(kinds.named(kind), find(other).learns)]
        raise ProbeError(
            f"baseline {name} learns {', '.join(learnt)}, not {kind}; "
            f"{', '.join(able) or 'no baseline'} can"
        )
    if cls.needs_encoder != (encoder is not None):
        raise ProbeError(
            f"baseline {name} {'is a head and needs an' if cls.needs_encoder else 'takes no'} "
            "encoder"
        )
    return cls(n_outputs, encoder) if cls.needs_encoder else cls(n_outputs)
