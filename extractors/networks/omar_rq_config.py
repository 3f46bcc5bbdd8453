"""Read what the config.gin of an OMAR-RQ says of its network and of its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.networks.config import check_sizes, read_sizes

_INPUTS = ("Waveform", "MelSpectrogram")

# What no other value is known to be computed right for.
_ALWAYS: Mapping[str, tuple[object, ...]] = {
    "Conformer.use_deepnorm": (True,),
    "Conformer.use_rope": (True,),
    "Conformer.num_patches": (None,),
    "Waveform.norm_mean": (0, 0.0),
    "MelSpectrogram.power": (2,),
    "MelSpectrogram.norm": ("slaney",),
    "MelSpectrogram.mel_scale": ("slaney",),
}


@dataclass(frozen=True)
class OmarConfig:
    """Sizes of the network, as config.gin has them.

    Attributes
    ----------
    embed_dim, depth, num_heads, mlp_ratio
        Width, blocks, attention heads, and how much wider the feed-forward parts are inside.
    mlp_residual_factor
        What a feed-forward part is multiplied by before it is added.
    alpha_deepnorm, beta_deepnorm
        What attention's residual is multiplied by, and some weights before training.
    sr, patch
        Hz; samples of a patch, or frames of the spectrogram.
    norm_mean, norm_std
        Subtracted from the input, and divided by.
    n_mel, win_len, hop_len
        Bands of the spectrogram, and samples of its windows and between them; without bands, the
        input is the waveform.
    """

    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 8
    mlp_ratio: float = 4.0
    mlp_residual_factor: float = 4.0
    alpha_deepnorm: float = 2.6321480259049848
    beta_deepnorm: float = 0.022386873579657126
    sr: int = 24_000
    patch: int = 960
    norm_mean: float = 0.0
    norm_std: float = 0.1908563740990311
    n_mel: int = 0
    win_len: int = 512
    hop_len: int = 256

    @classmethod
    def of(cls, described: Mapping[str, Any], name: str) -> OmarConfig:
        """Read what `described_by_gin` returns. Raises ExtractError for a value that can't be."""
        config = cls(**read_sizes(cls, described, name, "config.gin"))
        rules = {
            "embed_dim must be a multiple of twice num_heads": (
                config.embed_dim % (2 * config.num_heads) == 0
            ),
            "win_len must be even": config.win_len % 2 == 0,
        }
        check_sizes(rules, name, "config.gin")
        return config


def described_by_gin(values: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the fields of `OmarConfig` from a config.gin; None where it is of another model.

    Raises
    ------
    ExtractError
        An OMAR-RQ of a kind that isn't published.
    """
    if "MaskingModel.mask_prob" not in values or "build_module.net" not in values:
        return None
    refusal = f"{name}: config.gin describes an OMAR-RQ that svuprobe doesn't compute: "
    net = str(values["build_module.net"])
    given = values.get("MaskingModel.input_representation")
    source = str(given or values.get("build_module.representation")).strip("@[] ")
    kind = source.rpartition(".")[2]
    if net.rpartition(".")[2] != "Conformer" or kind not in _INPUTS:
        raise ExtractError(
            f"{refusal}{net} on {source}; it computes the Conformer on {' or '.join(_INPUTS)}"
        )
    for key, allowed in _ALWAYS.items():
        concerned = key.partition(".")[0] in ("Conformer", kind)
        if concerned and values.get(key, allowed[0]) not in allowed:
            raise ExtractError(
                f"{refusal}{key} is {values[key]!r:.40}; all published ones have {allowed[0]!r}"
            )
    fields: dict[str, Any] = {}
    for key, value in values.items():
        owner, _, field = key.partition(".")
        if owner in ("Conformer", kind):
            fields[field] = value
    bands, fields["patch"] = _patch_of(fields.pop("patch_size", None), name)
    if kind == "Waveform":
        fields.pop("norm_mean", None)  # zero, as was checked
    elif bands != fields.get("n_mel"):
        raise ExtractError(
            f"{refusal}patches have {bands} of {fields.get('n_mel')} bands; all published ones "
            "have all"
        )
    return fields


def _patch_of(size: Any, name: str) -> tuple[int, int]:
    """Return bands, or channels, and length of a patch."""
    pair = isinstance(size, (tuple, list)) and len(size) == 2
    if not pair or not all(type(number) is int and number > 0 for number in size):
        raise ExtractError(
            f"{name}: patch_size in config.gin must be two numbers, not {size!r:.40}"
        )
    return size[0], size[1]
