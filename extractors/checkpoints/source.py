"""Find the files of a published checkpoint, which of them count, and what stands in their place.

A checkpoint is a folder, or a commit of a repository on the Hugging Face hub, in the layout of
transformers' ``save_pretrained``. These are the files that transformers 5 and peft write, and what
becomes of each:

==============================================  ================================================
``config.json``                                 read as data; its ``auto_map`` never runs
``processor_config.json``                       its "feature_extractor" is read, before the next
``preprocessor_config.json``                    read where the file above has no feature extractor
``model.safetensors``, ``pytorch_model.bin``    read, the first that is there; else in shards as
``model.safetensors.index.json``, ...bin...     the index says; it may name files here only
one other ``.safetensors .bin .pt .pth .ckpt``  read where none of these is, if there is one; it
                                                may lie in an inner folder, as ESPnet's do
``adapter_config.json``, ``adapter_model.*``    of peft: refused, it has to be merged first
``adapter.LANG.safetensors``, ``.bin``          of MMS: the weights must hold one already
``generation_config.json``, tokenizer files     irrelevant: of decoders and of text
``optimizer.pt``, ``training_args.bin``, ...    irrelevant: of training
``tf_model.h5``, ``flax_model.msgpack``, ...    refused where there are no others
``*.py``, ``README.md``, ``.gitattributes``     irrelevant, and never run
==============================================  ================================================

Some models are published otherwise: as a ``.pt``, ``.pth`` or ``.ckpt`` that says itself what it
is, or beside a configuration of another kind (`CONFIGURATIONS`). Such a file may be named instead
of its folder.

The order of the two files of settings is that of transformers 5 (``get_feature_extractor_dict``).
All files that are read, and both of these, are in the revision of a folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints.files import read_json
from svuprobe.extractors.names import OF_A_FOLDER, ONE_FILE, of_file

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
WEIGHT_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SETTINGS, NESTED_SETTINGS = "preprocessor_config.json", "processor_config.json"
_ADAPTER = "adapter_config.json"


RECIPE = "recipe.json"  # of a model that svuprobe pre-trained

# What else than config.json says which network the weights are of; in the revision of a folder.
CONFIGURATIONS = ("config.yaml", "config.gin", "msd_stats.json", "fma_stats.json")


@dataclass(frozen=True)
class Source:
    """Name a folder, a file, or a commit of a repository on the hub, that holds a checkpoint.

    Attributes
    ----------
    name
        Canonical name of the model, for messages.
    folder
        None for a repository.
    hub, commit
        ``ORG/NAME`` and the full commit; None for a folder.
    file
        The one file of weights that is meant, where there are several; None where all are.
    files
        Of a repository without config.json: the names of all its files, with their folders.
    """

    name: str
    folder: Path | None = None
    hub: str | None = None
    commit: str | None = None
    file: str | None = None
    files: tuple[str, ...] = ()

    def find(self, file: str) -> Path | None:
        """Return the path of a file, downloaded from the hub; None if it is known not to be there.

        Raises
        ------
        ExtractError
            It can't be downloaded and the cache doesn't know it, or it is a link to nothing.
        """
        if self.folder is None:
            assert self.hub is not None
            if self.files and file not in self.files:
                return None
            return download(self.hub, file, self.commit, self.name)
        path = self.folder / file
        if path.is_symlink() and not path.exists():
            raise ExtractError(
                f"{self.name}: {file} is a link to {path.readlink()}, which isn't there; get the "
                f"file (git annex get {file}, git lfs pull, or download it again)"
            )
        return path if os.path.isfile(path) else None  # False also for names that no file can have

    def find_if_known(self, file: str) -> Path | None:
        """Do as `find`; but a file that an offline machine has never asked for counts as not
        there.
        """
        try:
            return self.find(file)
        except ExtractError:
            if self.folder is not None:
                raise
            return None

    def recipe(self) -> str:
        """Return name and hash of the recipe by which svuprobe pre-trained it; else nothing."""
        path = None if self.folder is None else self.folder / RECIPE
        if path is None or not path.is_file():
            return ""
        described = read_json(path, self.name)
        name, digest = described.get("name"), described.get("hash")
        if isinstance(name, str) and isinstance(digest, str):
            return f"{name}-{digest[:8]}"
        return ""  # another program's file of that name

    def listing(self) -> list[Path]:
        """Return what lies in the folder, by name; of a repository, nothing."""
        return sorted(self.folder.iterdir()) if self.folder is not None else []

    def names(self) -> list[str]:
        """Return the names of all files that are known of, in inner folders after their path.

        Of a repository with config.json, nothing; hidden files aside.
        """
        if self.file is not None:
            return [self.file]
        if self.folder is None:
            return sorted(self.files)
        inner: list[str] = []
        for place, folders, files in os.walk(self.folder):
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
            inner += [Path(place, file).relative_to(self.folder).as_posix() for file in files]
        return sorted(name for name in inner if not name.startswith("."))

    def find_anywhere(self, file: str) -> Path | None:
        """Return the path of a file, or of the first of that name in an inner folder."""
        if self.file is not None:
            return self.find(file)  # beside it
        names = [name for name in self.names() if name.rpartition("/")[2] == file]
        return self.find(min(names, key=lambda name: (name.count("/"), name))) if names else None

    def required(self, file: str) -> Path:
        """Return the path of config.json.

        Without it this is no checkpoint, and the error says what it is.
        """
        path = self.find(file)
        if path is None:
            refuse_adapter(self)
            inner = [p.name for p in self.listing() if (p / file).is_file()]
            alone = [n for n in self.names() if "/" not in n and n.endswith(ONE_FILE)]
            one = ""
            if inner:
                one = f"; there is one in {', '.join(inner[:5])}: name that folder"
            elif self.folder is not None and len(alone) > 1:
                one = (
                    f"; if one of {', '.join(alone[:5])} says itself what it is, name it: "
                    f"hf:{self.folder / alone[0]}"
                )
            raise ExtractError(
                f"{self.name}: there is no {file}, so this isn't a transformers checkpoint{one}"
            )
        return path


def in_folder(folder: str | Path, name: str | None = None) -> Source:
    """Open a folder, or a file of weights that may say itself what it is.

    Raises
    ------
    ExtractError
        It isn't there.
    """
    folder = Path(folder).expanduser().absolute()
    name = name or f"hf:{folder}"
    if os.path.isfile(folder) and folder.suffix in ONE_FILE:
        return Source(name, folder.parent, file=folder.name)
    if os.path.isfile(folder):
        raise ExtractError(f"{name}: {folder} is a file; {of_file(str(folder))}")
    if not os.path.isdir(folder):
        if folder.name.endswith((*ONE_FILE, *OF_A_FOLDER, ".py")):
            raise ExtractError(f"{name}: there is no file {folder}; {of_file(str(folder))}")
        raise ExtractError(f"{name}: there is no folder {folder}")
    return Source(name, folder)


def on_hub(
    hub: str, revision: str | None, name: str | None = None, file: str | None = None
) -> Source:
    """Open a repository at a branch, tag or commit (None: the main branch); files come when asked
    for. ``file`` is that of `Source`.

    Raises
    ------
    ExtractError
        No such repository, or no network and not in the cache.
    """
    name = name or f"hf:{hub}" + (f"@{revision}" if revision else "")
    try:
        path = download(hub, "config.json", revision, name)
    except ExtractError:
        # A download of all files says nothing of those that the repository doesn't have.
        source = _downloaded(hub, revision, name)
        if source is None:
            raise
        refuse_adapter(source)
        return replace(source, file=file)
    if path is None:
        refuse_adapter(Source(name, hub=hub, commit=revision))
        return replace(_without_config(hub, revision, name), file=file)
    # A snapshot's files lie in a folder named after the
    # commit; from here on, only that commit counts.
    return Source(name, hub=hub, commit=path.parent.name, file=file)


def _without_config(hub: str, revision: str | None, name: str) -> Source:
    """Open a repository that isn't laid out as transformers does; its files are listed now."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(hub, revision=revision)
    except Exception as error:  # types differ between versions
        source = _snapshot(hub, revision, name)
        if source is not None:
            return source
        raise ExtractError(
            f"{name}: can't list the files of {hub} on the Hugging Face hub "
            f"({type(error).__name__}); check the network, or use a downloaded copy, "
            "hf:/local/folder"
        ) from None
    files = [sibling.rfilename for sibling in info.siblings or ()]
    return Source(name, hub=hub, commit=info.sha, files=tuple(sorted(files)))


def _downloaded(hub: str, revision: str | None, name: str) -> Source | None:
    """Open what an earlier download has left of a repository without config.json; None where
    nothing in it says which network it is.
    """
    source = _snapshot(hub, revision, name)
    if source is None or "config.json" in source.files:
        return None
    known = [file.rpartition("/")[2] for file in source.files]
    told = any(file in CONFIGURATIONS or file.endswith(ONE_FILE) for file in known)
    return source if told else None


def _snapshot(hub: str, revision: str | None, name: str) -> Source | None:
    """Open what an earlier download has left of a repository; None where that is nothing."""
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(snapshot_download(hub, revision=revision, local_files_only=True))
    except Exception:  # types differ between versions
        return None
    files = [p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_file()]
    return Source(name, hub=hub, commit=snapshot.name, files=tuple(sorted(files)))


def download(hub: str, file: str, revision: str | None, name: str) -> Path | None:
    """Download a file of a repository on the hub; None if the repository is known not to have
    it.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(hub, file, revision=revision))
    except Exception as error:
        # Network, authorisation, unknown repository: types differ between versions.
        remote = isinstance(error, EntryNotFoundError) and not isinstance(
            error, LocalEntryNotFoundError
        )
        cached = try_to_load_from_cache(hub, file, revision=revision)
        # Neither a path nor None is the cache's marker for
        # a file that this commit is known not to have.
        if remote or (cached is not None and not isinstance(cached, str)):
            return None
        raise ExtractError(
            f"{name}: can't get {file} of {hub} from the Hugging Face hub, and the local cache "
            f"lacks it ({type(error).__name__}); check the name and the network, or use a "
            "downloaded copy, hf:/local/folder, or random weights, random:NAME"
        ) from None


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
    # Audio models of transformers 5 use either key.
    for key in ("feature_extractor", "audio_processor"):
        settings = nested.get(key)
        if settings is None:
            continue
        if not isinstance(settings, dict):
            raise ExtractError(
                f"{source.name}: {key} in {NESTED_SETTINGS} must be an object, not {settings!r:.80}"
            )
        return settings
    return read_json(path, source.name) if path else None


def refuse_adapter(source: Source) -> None:
    """Raise an ExtractError where a trained adapter of peft lies in the checkpoint: it would be
    left out.
    """
    path = source.find_if_known(_ADAPTER)
    files = [p.name for p in source.listing() if p.name.startswith("adapter_model.")]
    if path is None and not files:
        return
    described = read_json(path, source.name) if path else {}
    kind, base = described.get("peft_type"), described.get("base_model_name_or_path")
    # What a JSON of elsewhere says goes into a message only where it can be printed.
    what = f"{kind} " if isinstance(kind, str) and kind.isprintable() else ""
    of = base if isinstance(base, str) and base and base.isprintable() else "BASE"
    alone = not any(map(source.find_if_known, (*WEIGHT_FILES, *WEIGHT_INDEXES)))
    where = "is only" if alone else "holds, beside its weights,"
    raise ExtractError(
        f"{source.name}: the checkpoint {where} a trained {what}adapter "
        f"({path.name if path else files[0]}), which svuprobe doesn't apply; merge it into its "
        f"model, {of}: peft.PeftModel.from_pretrained(BASE_MODEL, "
        "ADAPTER).merge_and_unload().save_pretrained(NEW_FOLDER), then use hf:NEW_FOLDER"
    )
