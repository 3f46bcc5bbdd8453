"""The index of a cache: large ones read back as written, and every part that is not of it is
named.
"""

import itertools
import os
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from planted import header, write_cache

from svuprobe._errors import UserError
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import FeatureCache, cache_info, join, misplaced, verify
from svuprobe.extractors.cache.checksums import publish, sidecar
from svuprobe.extractors.cache.format import HDF5, TEXT, Row
from svuprobe.extractors.cache.shards import content_of
from svuprobe.extractors.jobs import cache_folder
from svuprobe.tasks.types import Task, Windowing

KINDS = {"clip": "multiclass", "frame": "beats"}


def task(level, dataset="toy"):
    return Task(
        "t", dataset, KINDS[level], ("accuracy",), [].copy, Windowing(1.0), "CC0", "somebody"
    )


# -- large caches ----------------------------------------------------------------------------------


def large(root, windows, letters, *, shards=4, digests=True):
    """Shards of one value a window, written without a model; returns the folder and what went in.

    Without ``digests`` the shards say nothing true of their content, which takes a while and
    `verify` alone looks at.
    """
    head = header(task("clip"), layers=1, dim=1)
    folder = cache_folder(root, head)
    folder.mkdir(parents=True)
    ids = [f"{n:0{letters}d}"[-letters:] if letters > 6 else str(n) for n in range(windows)]
    went_in = {
        "clip_id": np.array(ids, dtype=object),
        "window": np.zeros(windows, np.int64),
        "start_s": np.arange(windows) * 0.25,
        "n_frames": np.arange(windows) % 50 + 1,
        "fingerprint": np.array([f"{n}-ab 0.0-None" for n in range(windows)], dtype=object),
    }
    values = (np.arange(windows) % 2000).astype(np.float16).reshape(-1, 1, 1)
    for number, rows in enumerate(np.array_split(np.arange(windows), shards)):
        path = folder / f"shard-{number:05d}.h5"
        temporary = folder / f"{path.name}.tmp-x"
        with h5py.File(temporary, "w", **HDF5) as file:
            file.create_dataset("features", data=values[rows])
            for name in Row._fields:
                text = went_in[name].dtype == object
                file.create_dataset(name, data=went_in[name][rows], dtype=TEXT if text else None)
            file.attrs.update(head.attributes())
            file.attrs["sha256"] = content_of(file) if digests else "0" * 64
        publish(temporary, path)
    return folder, went_in, values


@pytest.mark.parametrize("letters", [1, 120])
def test_a_cache_of_400_000_windows_reads_back_as_it_was_written(tmp_path, letters):
    folder, went_in, values = large(tmp_path, 400_000, letters, digests=False)
    join(folder)
    with h5py.File(folder / "features.h5") as file:  # as anyone reads it
        for name, column in went_in.items():
            found = file[name].asstr()[:] if column.dtype == object else file[name][:]
            assert np.array_equal(found, column), name
        assert np.array_equal(file["offset"][:], np.arange(400_000))
        assert np.array_equal(file["features"][:], values)
    with FeatureCache(folder) as cache:
        assert all(np.array_equal(getattr(cache, name), column) for name, column in went_in.items())
        assert np.array_equal(cache.features[:], values)
    assert cache_info(folder).state == "complete"


def join_as_before(folder):
    """``features.h5`` as it was written when columns were assigned, and the index had no digest."""
    join(folder)
    path, temporary = folder / "features.h5", folder / "features.h5.tmp-x"
    with h5py.File(path) as new, h5py.File(temporary, "w", **HDF5) as old:
        for name, values in new.attrs.items():
            if name not in ("index_sha256", "rows", "content"):
                old.attrs[name] = values
        new.copy("features", old)
        for name in (*Row._fields, "offset"):
            old[name] = (
                new[name].asstr()[:] if h5py.check_string_dtype(new[name].dtype) else new[name][:]
            )
    publish(temporary, path)


def test_a_cache_that_an_older_version_joined_is_joined_again(tmp_path):
    folder, went_in, _ = large(tmp_path, 10_000, 360)
    join_as_before(folder)
    with h5py.File(folder / "features.h5") as file, pytest.raises(TypeError):
        file["clip_id"].asstr()  # the damage: another column's data
    assert cache_info(folder).state == "not joined"
    assert [damage.path.name for damage in verify(folder)] == ["features.h5"]
    with FeatureCache(folder) as cache:
        assert np.array_equal(cache.clip_id, went_in["clip_id"])
    assert verify(folder) == []
    assert cache_info(folder).state == "complete"


def test_where_nothing_may_be_written_it_is_read_from_the_shards(tmp_path, monkeypatch):
    folder, went_in, _ = large(tmp_path, 3000, 120)
    join_as_before(folder)
    real = os.open

    def refuse(path, flags, *rest, **options):
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system")
        return real(path, flags, *rest, **options)

    before = (folder / "features.h5").read_bytes()
    monkeypatch.setattr(os, "open", refuse)
    with FeatureCache(folder) as cache:
        assert np.array_equal(cache.clip_id, went_in["clip_id"])
    assert (folder / "features.h5").read_bytes() == before


# -- parts of other caches -------------------------------------------------------------------------


class Caches:
    """A cache, and others whose parts could be taken for its own: of another model, another
    dataset.
    """

    def __init__(self, root, level):
        self.level = level
        states = {f"c{n:02d}": self.windows(n) for n in range(40)}
        made = {
            "mine": header(task(level), layers=3, dim=4, name="logmel"),
            "model": header(task(level), layers=3, dim=4, name="mfcc"),
            "dataset": header(task(level, "other"), layers=3, dim=4, name="logmel"),
        }
        for n, (name, head) in enumerate(made.items()):
            shifted = {i: [w + np.float16(n) for w in ws] for i, ws in states.items()}
            setattr(self, name, write_cache(root / name, replace(head, revision="v1"), shifted))

    def windows(self, n):
        rng = np.random.default_rng(n)
        return [
            rng.normal(size=(1 if self.level == "clip" else 5, 3, 4)).astype(np.float16)
            for _ in range(2)
        ]

    def take(self, other, name, as_name=None):
        """Put a file of another cache in the place of ours, with its checksum."""
        for suffix in ("", ".sha256"):
            shutil.copy(other / f"{name}{suffix}", self.mine / f"{as_name or name}{suffix}")
        if as_name:
            side = sidecar(self.mine / as_name)
            side.write_text(side.read_text().replace(name, as_name))

    def edit(self, name, change, checksum):
        """Change an HDF5 file in place; ``checksum`` makes its sidecar anew, as somebody who means
        to would.
        """
        path = self.mine / name
        with h5py.File(path, "r+") as file:
            change(file)
        if checksum:
            temporary = path.with_name(f"{name}.tmp-x")
            path.rename(temporary)
            publish(temporary, path)


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def column(name, value):
    def change(file):
        file[name][0] = value

    return change


def features(value):
    def change(file):
        file["features"][1] = value if np.isscalar(value) else file["features"][0]

    return change


FIELDS = {
    "model": "mfcc", "revision": "v2", "digest": "d2", "sample_rate": 8000, "hop": 160,
    "receptive_field": 1, "layer_names": ["a", "b", "c"], "dim": 5, "normalization": "other",
    "dtype": "bfloat16", "dataset": "other", "windowing": "2s", "level": "other", "parameters": 8,
}  # fmt: skip
COLUMNS = {"clip_id": "c05", "window": 7, "start_s": 9.0, "n_frames": 3, "fingerprint": "other"}
# Way -> what is done to the caches. Those of the first two tables are named by the probe before any
# training, and by verify.
EDITED = {
    **{f"features.h5 {k}": ("features.h5", attribute(k, v)) for k, v in FIELDS.items()},
    **{
        f"features.h5 {k}": ("features.h5", column(k, v))
        for k, v in (COLUMNS | {"offset": 5}).items()
    },
    "features.h5 shards": (
        "features.h5",
        lambda file: attribute("shards", file.attrs["shards"][::-1])(file),
    ),
    "features NaN": ("shard-00001.h5", features(np.nan)),
    "features infinite": ("shard-00001.h5", features(-np.inf)),
}
SWAPPED = {
    "a shard of another model": lambda c: c.take(c.model, "shard-00000.h5"),
    "a shard of another dataset": lambda c: c.take(c.dataset, "shard-00001.h5"),
    "another shard": lambda c: c.take(c.mine, "shard-00000.h5", "shard-00001.h5"),
    "features.h5 of another model": lambda c: c.take(c.model, "features.h5"),
    "features.h5 of another dataset": lambda c: c.take(c.dataset, "features.h5"),
    "a shard gone": lambda c: (c.mine / "shard-00001.h5").unlink(),
    "a shard of zeros": lambda c: zeroed(c.mine / "shard-00001.h5"),
    "a shard cut": lambda c: os.truncate(c.mine / "shard-00000.h5", 1000),
    "a shard that is a folder": lambda c: turned_into_a_folder(c.mine / "shard-00000.h5"),
    "text for a shard": lambda c: padded(c.mine / "shard-00001.h5", b"version https://git-lfs\n"),
    "features.h5 of zeros": lambda c: zeroed(c.mine / "features.h5"),
}
# Finite features, a shard's own header (the index has
# it too) and index: only reading every byte tells.
ONLY_VERIFIED = {
    "features zero": ("shard-00001.h5", features(0.0)),
    "features of another clip": ("shard-00001.h5", features(np.ones(2))),
    **{f"shard header {k}": ("shard-00001.h5", attribute(k, v)) for k, v in FIELDS.items()},
    **{
        f"shard {k}": ("shard-00001.h5", column(k, v))
        for k, v in COLUMNS.items()
        if k != "n_frames"
    },
}


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def padded(path, start):
    path.write_bytes(start.ljust(path.stat().st_size, b" "))


def turned_into_a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.fixture(scope="module", params=["clip", "frame"])
def template(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    Caches(root, request.param)
    return root, request.param


@pytest.fixture
def caches(template, tmp_path):
    root, level = template
    copy = Caches.__new__(Caches)
    copy.level = level
    for name in ("mine", "model", "dataset"):
        shutil.copytree(root / name, tmp_path / name)
        setattr(copy, name, next((tmp_path / name).glob("*/*")))
    return copy


def read(folder):
    """What a probe does before it trains."""
    with FeatureCache(folder) as cache:
        return cache.features[:]


def test_whole_caches_are_read_and_verified(caches):
    assert read(caches.mine).shape[1:] == (3, 4)
    assert verify(caches.mine) == verify(caches.model) == []
    assert len(list(caches.mine.glob("shard-*.h5"))) > 1


@pytest.mark.parametrize(("way", "checksum"), list(itertools.product(EDITED, [False, True])))
def test_an_edited_cache_is_named_by_probe_and_by_verify(caches, way, checksum):
    name, change = EDITED[way]
    caches.edit(name, change, checksum)
    with pytest.raises(ExtractError, match=name):
        read(caches.mine)
    assert verify(caches.mine)


@pytest.mark.parametrize("way", SWAPPED)
def test_a_swapped_or_unreadable_file_is_named_by_probe_and_by_verify(caches, way):
    SWAPPED[way](caches)
    with pytest.raises(UserError, match=r"shard-0000\d.h5|features.h5"):
        read(caches.mine)
    assert verify(caches.mine)


@pytest.mark.parametrize(("way", "checksum"), list(itertools.product(ONLY_VERIFIED, [False, True])))
def test_other_finite_features_are_named_by_verify(caches, way, checksum):
    caches.edit(*ONLY_VERIFIED[way], checksum)
    assert [damage.path.name for damage in verify(caches.mine)][:1] == ["shard-00001.h5"]


@pytest.mark.parametrize("what", ["plan header", "plan clips", "no checksum", "another checksum"])
def test_edited_plans_and_checksums_are_named_by_verify(caches, what):
    plan = caches.mine / "plan-00000.json"
    if what.startswith("plan"):
        text = plan.read_text()
        other = (
            text.replace('"digest": "d1"', '"digest": "d2"')
            if "header" in what
            else text.replace("c00", "c99")
        )
        temporary = caches.mine / "x"
        temporary.write_text(other)
        publish(temporary, plan)
    elif what == "no checksum":
        sidecar(caches.mine / "shard-00000.h5").unlink()
    else:
        side = sidecar(caches.mine / "shard-00000.h5")
        side.write_text(f"{'0' * 64}  shard-00000.h5\n")
    assert verify(caches.mine)


@pytest.mark.parametrize("other", ["model", "dataset"])
def test_a_whole_cache_in_the_place_of_another_is_named(caches, other):
    shutil.rmtree(caches.mine)
    shutil.copytree(getattr(caches, other), caches.mine)
    with FeatureCache(caches.mine) as cache:
        assert "move it to where its name says so" in misplaced(caches.mine, cache.header)
    assert [damage.path for damage in verify(caches.mine)] == [caches.mine]


def test_shards_that_may_not_be_read_are_named(caches, monkeypatch):
    """As root permissions bind nobody: the system's refusal is made up, for each shard in turn."""
    real = h5py.File.__init__
    for shard in sorted(caches.mine.glob("shard-*.h5")):

        def refuse(self, name, *words, shard=shard, **options):
            if str(name) == str(shard):
                raise PermissionError(13, "Permission denied")
            real(self, name, *words, **options)

        with monkeypatch.context() as patch:
            patch.setattr(h5py.File, "__init__", refuse)
            with pytest.raises(
                ExtractError, match=f"{shard.name}: can't be read .Permission denied.; make it"
            ):
                read(caches.mine)


def test_no_prefix_in_the_environment_shows_another_cache(caches, monkeypatch):
    before = read(caches.mine)
    monkeypatch.setenv("HDF5_VDS_PREFIX", str(caches.model))
    assert np.array_equal(read(caches.mine), before)


def test_a_clip_whose_features_are_not_finite_is_named_with_its_layer(caches):
    with FeatureCache(caches.mine) as cache:
        window = int(np.flatnonzero(cache.clip_id == "c30")[1])
        row, starts = (
            int(cache.offset[window]),
            np.cumsum([0, *(s.rows for s in cache.features._index.shards.values())]),
        )
    shard = int(np.searchsorted(starts, row, side="right")) - 1

    def change(file):
        file["features"][row - starts[shard], 2, 1] = np.inf

    caches.edit(f"shard-{shard:05d}.h5", change, checksum=True)
    with pytest.raises(
        ExtractError, match="features of clip 'c30', layer 'block02', are not finite"
    ):
        read(caches.mine)


def test_slices_are_those_of_an_array(caches):
    with FeatureCache(caches.mine) as cache:
        whole = cache.features[:]
        n = len(whole)
        for rows in (
            slice(0, 1),
            slice(n - 1, n),
            slice(3, n - 3),
            slice(5, 5),
            slice(None, None, 3),
            slice(-4, None),
        ):
            assert np.array_equal(cache.features[rows], whole[rows])
        assert np.array_equal(
            cache.read(7),
            whole[cache.offset[7] : cache.offset[7] + (1 if caches.level == "clip" else 5)],
        )
