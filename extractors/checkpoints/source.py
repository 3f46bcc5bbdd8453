"""The files of a published checkpoint: where they are, which of them count, and what stands in their place.

A checkpoint is a folder, or a commit of a repository on the Hugging Face hub, in the layout of transformers'
``save_pretrained``. These are the files that transformers 5 and peft write, and what becomes of each:

==============================================  =================================================================
``config.json``                                 read as data; its ``auto_map`` (Python files beside it) never runs
``processor_config.json``                       its "feature_extractor" is read, before preprocessor_config.json
``preprocessor_config.json``                    read where the file above has no feature extractor
``model.safetensors``, ``pytorch_model.bin``    read, the first that is there; else in shards as
``model.safetensors.index.json``, ...bin...     the index says, which may name files of the same folder only
one other ``.safetensors .bin .pt .pth .ckpt``  read from a folder without any of these, if there is only one
``adapter_config.json``, ``adapter_model.*``    of peft: refused, the adapter has to be merged first
``adapter.LANG.safetensors``, ``.bin``          of wav2vec 2.0 (MMS): the weights must hold one of them already
``generation_config.json``, tokenizer files     irrelevant: of decoders and of text
``optimizer.pt``, ``training_args.bin``, ...    irrelevant: of training
``tf_model.h5``, ``flax_model.msgpack``, ...    refused where there are no others
``*.py``, ``README.md``, ``.gitattributes``     irrelevant, and never run
==============================================  =================================================================

The order of the two files of settings is that of transformers 5 (``get_feature_extractor_dict``). All files that are
read, and both of these, are in the revision of a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from svuprobe.extractors.base import ExtractError

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
SETTINGS, NESTED_SETTINGS = "preprocessor_config.json", "processor_config.json"
_ADAPTER = "adapter_config.json"

_OTHER_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt")
_NOT_THE_MODEL = (
    *("adapter_model.*", "adapter.*", "pytorch_adapter.bin", "pytorch_model_head.bin"),
    *("optimizer*", "scheduler*", "scaler*", "rng_state*", "random_states*", "training_args.bin"),
)
_FOREIGN = {
    "*.h5": "TensorFlow",
    "*.msgpack": "Flax",
    "*.onnx": "ONNX",
    "*.gguf": "GGUF",
    "*.distcp": "torch.distributed.checkpoint",
    "pytorch_model_fsdp*": "FSDP",
    "global_step*": "DeepSpeed",
}


@dataclass(frozen=True)
class Source:
    """A folder, or a commit of a repository on the hub, that holds a checkpoint.

    Attributes
    ----------
    name
        Canonical name of the model, for messages.
    folder
        None for a repository.
    hub, commit
        ``ORG/NAME`` and the full commit; None for a folder.
    """

    name: str
    folder: Path | None = None
    hub: str | None = None
    commit: str | None = None

    def find(self, file: str) -> Path | None:
        """Return the path of a file, downloaded from the hub; None if it is known not to be there.

        Raises
        ------
        ExtractError
            It can't be downloaded and the cache doesn't know it, or it is a link to nothing.
        """
        if self.folder is None:
            assert self.hub is not None
            return download(self.hub, file, self.commit, self.name)
        path = self.folder / file
        if path.is_symlink() and not path.exists():
            raise ExtractError(
                f"{self.name}: {file} is a link to {path.readlink()}, which isn't there; get the file "
                f"(git annex get {file}, git lfs pull, or download it again)"
            )
        return path if os.path.isfile(path) else None  # False also for names that no file can have

    def find_if_known(self, file: str) -> Path | None:
        """As `find`, but a file that an offline machine has never asked for counts as not there."""
        try:
            return self.find(file)
        except ExtractError:
            if self.folder is not None:
                raise
            return None

    def listing(self) -> list[Path]:
        """Return what lies in the folder, by name; of a repository nothing is known but what is asked for."""
        return sorted(self.folder.iterdir()) if self.folder is not None else []

    def required(self, file: str) -> Path:
        """Return the path of config.json; without it this is no checkpoint, and the error says what it is."""
        path = self.find(file)
        if path is None:
            refuse_adapter(self)
            inner = [p.name for p in self.listing() if (p / file).is_file()]
            one = f"; there is one in {', '.join(inner[:5])}: name that folder" if inner else ""
            raise ExtractError(f"{self.name}: there is no {file}, so this isn't a transformers checkpoint{one}")
        return path


def in_folder(folder: str | Path, name: str | None = None) -> Source:
    """Open a folder.

    Raises
    ------
    ExtractError
        It isn't there.
    """
    folder = Path(folder).expanduser().absolute()
    name = name or f"hf:{folder}"
    if os.path.isfile(folder):
        raise ExtractError(f"{name}: {folder} is a file; name the folder of the checkpoint, hf:{folder.parent}")
    if not os.path.isdir(folder):
        raise ExtractError(f"{name}: there is no folder {folder}")
    return Source(name, folder)


def on_hub(hub: str, revision: str | None, name: str | None = None) -> Source:
    """Open a repository at a branch, tag or commit (None for the main branch); what is asked for is downloaded.

    Raises
    ------
    ExtractError
        No such repository, or no network and not in the cache.
    """
    name = name or f"hf:{hub}" + (f"@{revision}" if revision else "")
    path = download(hub, "config.json", revision, name)
    if path is None:
        refuse_adapter(Source(name, hub=hub, commit=revision))
        raise ExtractError(f"{name}: there is no config.json, so this isn't a transformers checkpoint")
    # A snapshot's files lie in a folder named after the commit; from here on, only that commit counts.
    return Source(name, hub=hub, commit=path.parent.name)


def download(hub: str, file: str, revision: str | None, name: str) -> Path | None:
    """A file of a repository on the hub; None if the repository is known not to have it."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(hub, file, revision=revision))
    except Exception as error:  # network, authorisation, unknown repository: types differ between versions
        remote = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        cached = try_to_load_from_cache(hub, file, revision=revision)
        # Neither a path nor None is the cache's marker for a file that this commit is known not to have.
        if remote or (cached is not None and not isinstance(cached, str)):
            return None
        raise ExtractError(
            f"{name}: can't get {file} of {hub} from the Hugging Face hub, and the local cache lacks it "
            f"({type(error).__name__}); check the name and the network, or use a downloaded copy, "
            "hf:/local/folder, or random weights, random:NAME"
        ) from None


# ------------------------------------------------------------------------------------------- JSON and settings


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    ExtractError
        It can't be read, or holds something else.
    """
    if (instead := placeholder(path, name)) is not None:
        raise ExtractError(f"{name}: can't read {path.name}: {instead}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExtractError(f"{name}: can't read {path.name}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ExtractError(f"{name}: {path.name} must hold a JSON object")
    return content


def read_settings(source: Source, *, known: bool = False) -> dict[str, Any] | None:
    """Read the settings of a checkpoint's feature extractor; None if it has none.

    Parameters
    ----------
    source
        The checkpoint.
    known
        Whether the catalogue knows them, should the checkpoint have none.

    Raises
    ------
    ExtractError
        A file that can't be read; or, offline, files that the cache doesn't know.
    """
    path = source.find(SETTINGS)
    try:
        nesting = source.find(NESTED_SETTINGS)
    except ExtractError:
        # A cache from before transformers 5 was never asked for it.
        if source.folder is not None or (path is None and not known):
            raise
        nesting = None
    nested = read_json(nesting, source.name) if nesting else {}
    for key in ("feature_extractor", "audio_processor"):
        settings = nested.get(key)
        if settings is None:
            continue
        if not isinstance(settings, dict):
            raise ExtractError(f"{source.name}: {key} in {NESTED_SETTINGS} must be an object, not {settings!r:.80}")
        return settings
    return read_json(path, source.name) if path else None


# --------------------------------------------------------------------------------------------------- weights


def find_weights(source: Source) -> tuple[Path, ...]:
    """Find the file or files with the weights, safetensors before pickles.

    Raises
    ------
    ExtractError
        There are none, or several that might be meant, or a shard is missing.
    """
    unreachable = None
    for file in WEIGHT_FILES:
        try:
            if (single := source.find(file)) is not None:
                return (single,)
            index = source.find(f"{file}.index.json")
        except ExtractError as error:  # offline: the cache may hold the other kind of file
            if source.folder is not None:
                raise
            unreachable = unreachable or error
            continue
        if index is not None:
            return tuple(_shard(source, shard, index.name) for shard in _shards(index, source.name))
    if unreachable is not None:
        raise unreachable
    return (_other_weights(source),)


def _shards(index: Path, name: str) -> list[str]:
    """The files that an index names."""
    weight_map = read_json(index, name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ExtractError(f'{name}: "weight_map" in {index.name} must say which file holds which weight')
    for shard in weight_map.values():
        # Another folder's files are not of this checkpoint, nor of its revision.
        own = isinstance(shard, str) and shard.isprintable() and shard not in ("", ".", "..")
        if not own or Path(shard).name != shard or "\\" in shard:
            raise ExtractError(f"{name}: {index.name} names {shard!r:.80}, which isn't a file of its own folder")
    return sorted(set(weight_map.values()))


def _shard(source: Source, shard: str, index: str) -> Path:
    path = source.find(shard)
    if path is None:
        raise ExtractError(
            f"{source.name}: {index} names {shard}, which isn't there: a part of the weights is missing; "
            f"download it again{_unfinished(source)}"
        )
    return path


def _other_weights(source: Source) -> Path:
    """The only file of weights in a folder whatever its name; else an error that says what there is."""
    refuse_adapter(source)
    files = source.listing()
    found = [
        path
        for path in files
        if any(fnmatch(path.name, pattern) for pattern in _OTHER_WEIGHTS)
        and not any(fnmatch(path.name, pattern) for pattern in _NOT_THE_MODEL)
    ]
    if len(found) == 1 and "-of-" not in found[0].name and found[0].is_file():
        return found[0]
    lacks = f"{source.name}: the checkpoint has neither {' nor '.join(WEIGHT_FILES)}"
    if any("-of-" in path.name for path in found):
        raise ExtractError(
            f"{lacks}: there are shards, such as {found[0].name}, without their index "
            f"({WEIGHT_FILES[0]}.index.json); download it again{_unfinished(source)}"
        )
    if found:
        raise ExtractError(
            f"{lacks}, but {', '.join(path.name for path in found[:5])}; leave one of them, or call it "
            f"{WEIGHT_FILES[0] if found[0].suffix == '.safetensors' else WEIGHT_FILES[1]}"
        )
    for pattern, library in _FOREIGN.items():
        if foreign := [path.name for path in files if fnmatch(path.name, pattern)]:
            raise ExtractError(
                f"{lacks}: {foreign[0]} holds weights of {library}, which svuprobe doesn't read; load them with "
                "that library and transformers, and write them with save_pretrained"
            )
    raise ExtractError(f"{lacks}{_unfinished(source)}")


def _unfinished(source: Source) -> str:
    """What is left of a download that was broken off, for the end of a message."""
    if source.folder is None:
        return ""
    inner = source.folder / ".cache" / "huggingface" / "download"
    parts = [*source.folder.glob("*.incomplete"), *source.folder.glob("*.part"), *inner.glob("*.incomplete")]
    return f"; its download isn't finished: {parts[0].name} is there" if parts else ""


def refuse_adapter(source: Source) -> None:
    """Raise an ExtractError where a trained adapter of peft lies in the checkpoint: it would be left out."""
    path = source.find_if_known(_ADAPTER)
    files = [p.name for p in source.listing() if p.name.startswith("adapter_model.")]
    if path is None and not files:
        return
    described = read_json(path, source.name) if path else {}
    kind, base = described.get("peft_type"), described.get("base_model_name_or_path")
    what = f"{kind} " if isinstance(kind, str) and kind.isprintable() else ""
    of = base if isinstance(base, str) and base and base.isprintable() else "BASE"
    alone = not any(source.find_if_known(f) for f in (*WEIGHT_FILES, *(f"{f}.index.json" for f in WEIGHT_FILES)))
    where = "is only" if alone else "holds, beside its weights,"
    raise ExtractError(
        f"{source.name}: the checkpoint {where} a trained {what}adapter ({path.name if path else files[0]}), which "
        f"svuprobe doesn't apply; merge it into its model, {of}: peft.PeftModel.from_pretrained(BASE_MODEL, "
        "ADAPTER).merge_and_unload().save_pretrained(NEW_FOLDER), then use hf:NEW_FOLDER"
    )


# ------------------------------------------------------------------------------------- what a file really is


def placeholder(path: Path, name: str) -> str | None:
    """Say what stands in a file's place (nothing, a pointer, a web page); None if it may be what it is called."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ExtractError(f"{name}: can't read {path.name}: {error.strerror}") from None
    if not start:
        return "it is empty; download it again"
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "it is a pointer of Git LFS in place of the file; run git lfs pull in the repository"
    if start.startswith((b"/annex/objects/", b"../.git/annex/", b".git/annex/")):
        return f"it is a pointer of git-annex in place of the file; run git annex get {path.name}"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<error")):
        return "it is a web page in place of the file; download it again"
    return None


# -------------------------------------------------------------------------------------------------- revisions


def revision_of(source: Source, weights: Sequence[Path]) -> str:
    """Return the commit, or the digest of the files of a folder that are read."""
    if source.commit is not None:
        return source.commit
    read = [source.find(file) for file in ("config.json", SETTINGS, NESTED_SETTINGS)]
    return digest_files(*read, *weights)[:40]


def folder_revision(folder: Path, name: str) -> str:
    """Return the digest of a checkpoint's files in a folder, which is its revision, without loading them.

    Raises
    ------
    ExtractError
        No such folder, or one without config.json or weights.
    """
    source = in_folder(folder, name)
    source.required("config.json")
    return revision_of(source, find_weights(source))


def digest_files(*paths: Path | None) -> str:
    """Return the SHA-256 of the names and the bytes of files; None stands for one that isn't there.

    A file is read once as long as it stays what it is: a suite asks for a model's revision before every result.
    """
    return _digest_unchanged(tuple((path, *_state_of(path)) for path in paths if path is not None))


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes when a file does: which one it is, its size and its times in nanoseconds."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=256)
def _digest_unchanged(files: tuple[tuple[Any, ...], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
