"""Read the weights of a checkpoint as tensors, without running code, and pick out the encoder's.

**Reading.** safetensors, or a pickle read with ``weights_only``. A pickle of training
(``torch.save`` of a dictionary) may hold its tensors under one of `_NESTS`; what else it holds is
left out.

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

import json
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints.files import placeholder
from svuprobe.extractors.checkpoints.source import Source

# Where training scripts keep the weights inside what
# they save: Lightning, fairseq, DeepSpeed, recipes.
_NESTS = ("state_dict", "model", "module", "model_state_dict", "weights")

# What torch.compile, FSDP and activation checkpointing put into names, also in their middle.
_WRAPPERS = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

# Names that peft's layers give, in the middle of a weight's name.
_PEFT = re.compile(
    r"(^|\.)(base_layer|lora_[A-Za-z]+|lora_magnitude_vector|ia3_l|hada_[A-Za-z0-9_]+|"
    r"vera_lambda_[bd]|oft_[rR]|boft_[RrS]|randlora_[A-Za-z]+|original_module|modules_to_save|"
    r"trainable_tokens_[A-Za-z]+)(\.|$)"
)

_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def read_state(files: Iterable[Path], name: str) -> dict[str, torch.Tensor]:
    """Read all tensors of a checkpoint's files, under the names saved, less those of wrappers.

    Raises
    ------
    ExtractError
        A file that is damaged, or no file of weights, or one that holds more than tensors.
    """
    state: dict[str, torch.Tensor] = {}
    for path in files:
        for saved, tensor in _read(path, name).items():
            key = _WRAPPERS.sub("", saved)
            if key != saved and key in state:
                raise ExtractError(f"{name}: {path.name} holds {key} twice, once as {saved}")
            state[key] = tensor
    return state


def _read(path: Path, name: str) -> dict[str, torch.Tensor]:
    """Read the tensors of one file."""
    from safetensors.torch import load_file

    if (damage := placeholder(path, name) or _cut_off(path)) is not None:
        raise ExtractError(f"{name}: {path.name} is damaged: {damage}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # weights_only refuses whatever could run code.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except UnpicklingError:
        pass
    except Exception as error:
        # Of whatever a damaged or hostile file makes the readers stumble over.
        if path.suffix == ".safetensors":
            raise ExtractError(
                f"{name}: {path.name} is damaged ({' '.join(str(error).split()):.200}); download "
                "it again"
            ) from None
    else:
        return _tensors_of(content, path, name)
    raise ExtractError(
        f"{name}: {path.name} is damaged, or holds more than tensors and is refused because it "
        "could run code; download it again, or convert it to safetensors"
    )


def _tensors_of(content: Any, path: Path, name: str) -> dict[str, torch.Tensor]:
    """Find the one dictionary of tensors in what a pickle holds: itself, or one of its entries."""
    if _is_state(content):
        return dict(content)
    nests = [key for key in _NESTS if isinstance(content, Mapping) and _is_state(content.get(key))]
    if len(nests) == 1:
        return dict(content[nests[0]])
    if nests:
        what = f"weights under each of {', '.join(nests)}"
    elif isinstance(content, Mapping):
        what = f"entries such as {', '.join(f'{key!r:.40}' for key in list(content)[:4])}"
    else:
        what = f"a {type(content).__name__}"
    raise ExtractError(
        f"{name}: {path.name} holds more than tensors, or holds them deeper: {what}; save one "
        "state_dict alone, with safetensors.torch.save_file(model.state_dict(), "
        "'model.safetensors')"
    )


def _is_state(content: Any) -> bool:
    return isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    )


def _cut_off(path: Path) -> str | None:
    """Say where a file of weights ends too early, as one broken off in a download does; None if it
    doesn't.
    """
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"  # what torch saves since 1.6
        return (
            "it ends too early; download it again"
            if zipped and not zipfile.is_zipfile(path)
            else None
        )
    with path.open("rb") as file:
        # The format: 8 bytes of length, a JSON header of so many, then the tensors.
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            return "its header isn't whole; download it again"
        try:
            described = json.loads(file.read(length))
            ends = [
                entry["data_offsets"][1]
                for key, entry in described.items()
                if key != "__metadata__"
            ]
            needed = 8 + length + max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return None  # safetensors says what is wrong with it
    return (
        f"it ends after {size:,} of {needed:,} bytes; download it again" if size < needed else None
    )


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
    }
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
        if (damage := placeholder(path, name) or _cut_off(path)) is not None:
            raise ExtractError(f"{name}: {path.name} is damaged: {damage}")
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
            for k, v in sorted(_read(path, name).items())
            if ".adapter_layer." in k and k.endswith("weight")
        }
    for key, tensor in values.items():
        return key[key.index("encoder.") :] if "encoder." in key else key, tensor
    return None, torch.empty(0)
