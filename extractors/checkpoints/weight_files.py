"""Find which files of a checkpoint hold its weights.

transformers' own ``from_pretrained`` would find them too, but takes the first that it likes: here a
folder that holds several, a shard that is missing and weights of another library are said.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints.files import read_json
from svuprobe.extractors.checkpoints.parts import part_of, shards_with
from svuprobe.extractors.checkpoints.source import (
    WEIGHT_FILES,
    WEIGHT_INDEXES,
    Source,
    refuse_adapter,
)
from svuprobe.extractors.names import ONE_FILE

# Names that training scripts choose; taken only where there is a single one.
_OTHER_WEIGHTS = ("*.safetensors", "*.bin", *(f"*{ending}" for ending in ONE_FILE))
# What transformers, peft and accelerate write beside the weights.
_NOT_THE_MODEL = (
    *("adapter_model.*", "adapter.*", "pytorch_adapter.bin", "pytorch_model_head.bin"),
    *("optimizer*", "scheduler*", "scaler*", "rng_state*", "random_states*", "training_args.bin"),
)
# Weights of other libraries, to say so instead of "no weights".
_FOREIGN = {
    "*.h5": "TensorFlow",
    "*.msgpack": "Flax",
    "*.onnx": "ONNX",
    "*.gguf": "GGUF",
    "*.distcp": "torch.distributed.checkpoint",
    "pytorch_model_fsdp*": "FSDP",
    "global_step*": "DeepSpeed",
}


def find_weights(source: Source) -> tuple[Path, ...]:
    """Find the file or files with the weights, safetensors before pickles.

    Of a model of which only a part is used, the shards that hold it.

    Raises
    ------
    ExtractError
        There are none, or several that might be meant, or a shard is missing.
    """
    if source.file is not None:
        if source.find(source.file) is None:
            raise ExtractError(f"{source.name}: the repository has no {source.file}")
        return (_other_weights(source),)
    unreachable = None
    for file, index_file in zip(WEIGHT_FILES, WEIGHT_INDEXES, strict=True):
        try:
            if (single := source.find(file)) is not None:
                return (single,)
            index = source.find(index_file)
        except ExtractError as error:  # offline: the cache may hold the other kind of file
            if source.folder is not None:
                raise
            unreachable = unreachable or error
            continue
        if index is not None:
            wanted = shards_with(_weight_map(index, source.name), part_of(source))
            return tuple(_shard(source, shard, index.name) for shard in wanted)
    if unreachable is not None:
        raise unreachable
    return (_other_weights(source),)


def _weight_map(index: Path, name: str) -> dict[str, str]:
    """Return the file of each weight that an index names."""
    weight_map = read_json(index, name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ExtractError(
            f'{name}: "weight_map" in {index.name} must say which file holds which weight'
        )
    for shard in weight_map.values():
        # Another folder's files are not of this checkpoint, nor of its revision.
        own = isinstance(shard, str) and shard.isprintable() and shard not in ("", ".", "..")
        if not own or Path(shard).name != shard or "\\" in shard:
            raise ExtractError(
                f"{name}: {index.name} names {shard!r:.80}, which isn't a file of its own folder"
            )
    return weight_map


def _shard(source: Source, shard: str, index: str) -> Path:
    path = source.find(shard)
    if path is None:
        raise ExtractError(
            f"{source.name}: {index} names {shard}, which isn't there: a part of the weights is "
            f"missing; download it again{_unfinished(source)}"
        )
    return path


def _other_weights(source: Source) -> Path:
    """Return the only file of weights in a folder whatever its name; else raise what there is."""
    refuse_adapter(source)
    if (only := _only(source)) is not None and (path := source.find(only)) is not None:
        return path
    candidates = _candidates(source)
    lacks = f"{source.name}: the checkpoint has neither {' nor '.join(WEIGHT_FILES)}"
    if any("-of-" in name for name in candidates):
        raise ExtractError(
            f"{lacks}: there are shards, such as {candidates[0]}, without their index "
            f"({WEIGHT_INDEXES[0]}); download it again{_unfinished(source)}"
        )
    if candidates:
        safe = candidates[0].endswith(".safetensors")
        raise ExtractError(
            f"{lacks}, but {', '.join(candidates[:5])}; leave one of them, or call it "
            f"{WEIGHT_FILES[0] if safe else WEIGHT_FILES[1]}"
        )
    files = source.listing()
    for pattern, library in _FOREIGN.items():
        if foreign := [path.name for path in files if fnmatch(path.name, pattern)]:
            raise ExtractError(
                f"{lacks}: {foreign[0]} holds weights of {library}, which svuprobe doesn't read; "
                "load them with that library and transformers, and write them with "
                "save_pretrained"
            )
    raise ExtractError(f"{lacks}{_unfinished(source)}")


def only_pickle(source: Source) -> Path | None:
    """Return the file that holds a checkpoint's weights if it is one pickle, of any name."""
    only = _only(source)
    return source.find(only) if only is not None and only.endswith((".bin", *ONE_FILE)) else None


def _only(source: Source) -> str | None:
    """Return the name of the one file of weights, if there is one."""
    candidates = _candidates(source)
    return candidates[0] if len(candidates) == 1 and "-of-" not in candidates[0] else None


def _candidates(source: Source) -> list[str]:
    """Return the names of files that may be weights: in the folder itself, or else below it."""
    candidates = [
        name
        for name in source.names()
        if _matches(name, _OTHER_WEIGHTS) and not _matches(name, _NOT_THE_MODEL)
    ]
    return [name for name in candidates if "/" not in name] or candidates


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name.rpartition("/")[2], pattern) for pattern in patterns)


def _unfinished(source: Source) -> str:
    """Say what is left of a download that was broken off, for the end of a message."""
    if source.folder is None:
        return ""
    inner = source.folder / ".cache" / "huggingface" / "download"
    parts = [
        *source.folder.glob("*.incomplete"),
        *source.folder.glob("*.part"),
        *inner.glob("*.incomplete"),
    ]
    return f"; its download isn't finished: {parts[0].name} is there" if parts else ""
