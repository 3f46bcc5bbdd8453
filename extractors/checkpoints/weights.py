"""Pick the encoder's weights out of a checkpoint's, and check them.

**Names.** Classes with a head save the encoder under a prefix (``wav2vec2.``), and so do
DataParallel (``module.``), ``torch.compile`` (``_orig_mod.``), Lightning (``model.``) and whole
wrappers (``encoder.``), in any combination. The prefix is found, not guessed: it is the one under
which the weights outside the blocks lie. Heads, quantisers and decoders lie elsewhere and are left
out. Two encoders under two prefixes are refused, unless one of them is where transformers itself
would look.

**Adapters.** Weights of an adapter of peft among the others are refused: without them the model is
another one. So is an adapter of wav2vec 2.0's own kind (``adapter.LANG.safetensors``) where none
like it is in the weights. What ``add_adapter`` of a config.json adds comes after the last layer and
changes none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints.reading import check_whole, read_file
from svuprobe.extractors.checkpoints.source import Source

# Names that peft's layers give, in the middle of a weight's name.
_PEFT = re.compile(
    r"(^|\.)(base_layer|lora_[A-Za-z]+|lora_magnitude_vector|ia3_l|hada_[A-Za-z0-9_]+|"
    r"vera_lambda_[bd]|oft_[rR]|boft_[RrS]|randlora_[A-Za-z]+|original_module|modules_to_save|"
    r"trainable_tokens_[A-Za-z]+)(\.|$)"
)

# How many batches a batch norm has seen. No state depends on it, and some tools leave it out.
BATCH_COUNT = ".num_batches_tracked"
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


# -- the encoder's weights -------------------------------------------------------------------------


def select(
    state: Mapping[str, torch.Tensor],
    wanted: Collection[str],
    own: Sequence[str],
    *,
    kind: str,
    name: str,
) -> dict[str, torch.Tensor]:
    """Pick the encoder's weights out of a checkpoint's, and take their prefix off.

    Parameters
    ----------
    state
        Weights under the names they are saved with.
    wanted
        Names of the encoder's weights.
    own
        The prefixes under which transformers looks for the encoder, the first one first; "" counts
        as the last.
    kind
        The family, for messages.
    name
        Of the model, for messages.

    Returns
    -------
    dict
        Those under the prefix, which are all in ``state`` where there is none.

    Raises
    ------
    ExtractError
        An unmerged adapter, or more than one encoder.
    """
    # Without its adapter the model would be another one.
    merged_not = next((key for key in state if _PEFT.search(key)), None)
    if merged_not is not None:
        raise ExtractError(
            f"{name}: the weights hold an adapter of peft that isn't merged, such as "
            f"{merged_not}; merge it first: "
            "peft_model.merge_and_unload().save_pretrained(NEW_FOLDER), then use hf:NEW_FOLDER"
        )
    prefixes = _prefixes(state, wanted)
    # Where transformers itself looks comes first; a lone other prefix will do.
    preferred = [prefix for prefix in (*own, "") if prefix in prefixes]
    if len(prefixes) > 1 and not preferred:
        shown = " and ".join(map(repr, prefixes[:4]))
        raise ExtractError(
            f"{name}: the weights hold {len(prefixes)} {kind} encoders, under the prefixes "
            f"{shown}; save the one you mean alone"
        )
    if preferred or prefixes:
        prefix = (preferred or prefixes)[0]
    else:
        prefix = next((p for p in own if any(key.startswith(p) for key in state)), "")
    part = {
        key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)
    }
    if not prefixes and not set(part) & set(wanted):
        firsts = sorted({".".join(key.split(".")[:2]) for key in state})
        raise ExtractError(
            f"{name}: the checkpoint lacks weights of the {kind} encoder that config.json "
            f"describes: all of them; it holds {len(state)} others"
            + (f", such as those under {', '.join(firsts[:4])}" if firsts else "")
        )
    return part


def _prefixes(state: Iterable[str], wanted: Collection[str]) -> list[str]:
    """Find the prefixes under which an encoder lies: where most of its weights outside the blocks
    are.
    """
    # transformers renames those of some blocks when it reads them, but none outside.
    anchors = {
        key
        for key in wanted
        if not re.search(r"\.\d+\.", key) and not key.startswith("masked_spec_embed")
    } or set(wanted)  # a codec's encoder has nothing outside its layers
    counts: dict[str, int] = {}
    for key in state:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in anchors:
                prefix = "".join(f"{part}." for part in parts[:start])
                counts[prefix] = counts.get(prefix, 0) + 1
    # A decoder has norms and positions of the same names,
    # a head may have a layer of one: fewer than half.
    return sorted(prefix for prefix, count in counts.items() if 2 * count > len(anchors))


def check_values(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], name: str
) -> None:
    """Refuse weights that are no plain floating-point numbers where the model has such, or not
    finite.
    """
    for key, tensor in state.items():
        if key in wanted and not wanted[key].is_floating_point():  # the count of a batch norm
            continue
        if tensor.dtype not in _TYPES or tensor.layout != torch.strided or tensor.is_meta:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ExtractError(
                f"{name}: {key} is stored as {kind} (quantised or packed), which svuprobe doesn't "
                "unpack; save the model in float32, float16 or bfloat16"
            )
        if not tensor.isfinite().all():
            raise ExtractError(
                f"{name}: {key} holds values that aren't finite: the training diverged, or it is "
                "damaged"
            )


# -- wav2vec 2.0's own language adapters -----------------------------------------------------------


def refuse_unused_language_adapters(
    source: Source, state: Mapping[str, torch.Tensor], name: str
) -> None:
    """Refuse a folder whose ``adapter.LANG`` files hold adapters of which none is in the weights.

    MMS (Pratap et al. 2023, arXiv:2305.13516) is published with a thousand of them; transformers
    takes the one in the weights unless it is asked for a language, and so do we. One that was
    trained and is nowhere in the weights would be left out without a word.
    """
    files = [
        path
        for path in source.listing()
        if re.fullmatch(r"adapter\.[^.]+\.(safetensors|bin)", path.name) and path.is_file()
    ]
    for path in files:
        key, tensor = _first_adapter_weight(path, name)
        if key is None or any(
            other.endswith(key)
            and tensor.shape == own.shape
            and torch.equal(tensor.float(), own.float())
            for other, own in state.items()
        ):
            return
    if files:
        raise ExtractError(
            f"{name}: {files[0].name} is a trained adapter that isn't in the weights; put it "
            "there: Wav2Vec2ForCTC.from_pretrained(FOLDER, "
            f"target_lang={files[0].name.split('.')[1]!r}).save_pretrained(NEW_FOLDER), then use "
            "hf:NEW_FOLDER"
        )


def _first_adapter_weight(path: Path, name: str) -> tuple[str | None, torch.Tensor]:
    """Return name, from the block on, and value of one weight of a language adapter; None if it has
    none.
    """
    from safetensors import safe_open

    if path.suffix == ".safetensors":
        check_whole(path, name)
        with safe_open(path, framework="pt") as file:
            keys = sorted(
                key
                for key in file.keys()  # noqa: SIM118
                if ".adapter_layer." in key and key.endswith("weight")
            )
            values = {keys[0]: file.get_tensor(keys[0])} if keys else {}
    else:
        values = {
            k: v
            for k, v in sorted(read_file(path, name).items())
            if ".adapter_layer." in k and k.endswith("weight")
        }
    for key, tensor in values.items():
        return key[key.index("encoder.") :] if "encoder." in key else key, tensor
    return None, torch.empty(0)
