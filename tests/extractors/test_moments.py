"""Mean and deviation of a window: exact numbers, the same on every path; caches old and new."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from recordings import corpus

from svuprobe import api
from svuprobe._files import sha256_of
from svuprobe._run_options import RunOptions
from svuprobe.extractors import jobs
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.batching import window_features
from svuprobe.extractors.cache import FeatureCache, join, verify
from svuprobe.extractors.cache.checksums import sidecar
from svuprobe.extractors.cache.index import read_index
from svuprobe.extractors.cache.shards import read_shard
from svuprobe.extractors.extract import extract
from svuprobe.extractors.jobs import Corpus
from svuprobe.extractors.loading import load
from svuprobe.extractors.pooling import deviation
from svuprobe.tasks.types import Windowing


def run(clips, features, model="logmel", level="clip"):
    extractor = load(model) if isinstance(model, str) else model
    wanted = Corpus("toy", Windowing(1.0, 0.3), level, clips)
    options = RunOptions(device="cpu", dtype="float32", jobs=0)
    return extract([extractor], wanted, features, options)[0].directory


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mask", [False, True])
def test_a_constant_and_a_single_frame_have_no_deviation(dtype, mask):
    values = torch.tensor([0.1, -3.3e4, 1e-7, 0.0, 777.77], dtype=dtype)
    for frames in (1, 7, 1500):
        constant = values.expand(2, frames, 5)
        valid = torch.ones(2, frames, dtype=torch.bool) if mask else None
        assert torch.equal(deviation(constant, valid), torch.zeros(2, 5))


def test_a_small_deviation_of_large_values_is_not_lost():
    generator = torch.Generator().manual_seed(0)
    away = torch.randn(3, 1000, 4, generator=generator)
    frames = (1e4 + 1e-1 * away).float()
    exact = frames.double().std(dim=1, correction=0).float()
    valid = torch.ones(3, 1000, dtype=torch.bool)
    for found in (deviation(frames), deviation(frames, valid)):
        torch.testing.assert_close(found, exact, rtol=1e-5, atol=0)
    # The mean of squares less the square of the mean has nothing left of it in float32.
    naive = (frames.square().mean(1) - frames.mean(1).square()).clamp(min=0).sqrt()
    assert (naive / exact - 1).abs().max() > 0.5


def test_what_is_in_padded_frames_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(3, 50, 4, generator=generator)
    lengths = torch.tensor([50, 31, 1])
    valid = torch.arange(50) < lengths[:, None]
    frames[~valid] = float("nan")
    found = deviation(frames, valid)
    for row, n in enumerate(lengths.tolist()):
        alone = frames[row, :n].double().std(dim=0, correction=0).float()
        torch.testing.assert_close(found[row], alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model", ["logmel", "random:wav2vec2-tiny", "random:svuprobe-small"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_are_those_of_the_frames_in_any_batch(model, dtype):
    extractor = load(model)
    extractor.to("cpu", dtype)
    rng = np.random.default_rng(0)
    windows = [rng.normal(size=n).astype(np.float32) / 10 for n in (9000, 16000, 6000)]
    with torch.inference_mode():
        together, _ = window_features(extractor, windows, "clip", "cpu", std=True)
        means, _ = window_features(extractor, windows, "clip", "cpu")
        alike, _ = window_features(extractor, windows[:1] * 2, "clip", "cpu", std=True)
        assert torch.equal(together[:, :1], means)
        bound = 2e-3 if dtype == torch.float32 else 2e-2  # float16 keeps 2^-11
        for row, samples in enumerate(windows):
            states, frames = extractor(
                torch.from_numpy(samples)[None], torch.tensor([len(samples)])
            )
            own = states[0, :, : int(frames[0])].double()
            exact = torch.stack([own.mean(1), own.std(1, correction=0)])
            away = (together[row].double() - exact).norm(dim=(1, 2)) / exact.norm(dim=(1, 2))
            assert away.max() < bound
        away = (alike.double() - together[:1].double()).norm() / together[0].double().norm()
        assert away < bound


def test_a_cache_holds_deviations_beside_its_means(tmp_path):
    folder = run(corpus(tmp_path / "a", 40), tmp_path / "f")
    frames = FeatureCache(run(corpus(tmp_path / "a", 40), tmp_path / "f", level="frame"))
    with FeatureCache(folder) as cache, h5py.File(folder / "features.h5") as file:
        assert cache.header.pooling == "mean_std"
        assert file["std"].shape == file["features"].shape == cache.std.shape
        assert np.array_equal(file["std"][:], cache.std[:])
        assert np.array_equal(file["features"][:], cache.features[:])
        assert (cache.std[:] >= 0).all()
        for clip_id, rows in cache.rows_of.items():
            (own,) = (frames.read(row) for row in frames.rows_of[clip_id][:1])
            # At frame level a window may see a little further, and have a frame more.
            here = own[: cache.n_frames[rows[0]]].astype(float)
            both = np.array([cache.features[rows[0] : rows[0] + 1], cache.std[rows[0] :][:1]])
            exact = np.array([here.mean(axis=0), here.std(axis=0)])
            np.testing.assert_allclose(both[:, 0], exact, rtol=5e-3, atol=5e-3)
    assert frames.header.pooling == ""
    with pytest.raises(ExtractError, match="holds frames, which have no deviation"):
        frames.std  # noqa: B018
    frames.close()
    assert verify(tmp_path / "f") == []
    arrays = api.load_features(folder)
    assert arrays.std("clip3").shape == arrays["clip3"].shape
    arrays.close()


def test_a_changed_deviation_is_found(tmp_path):
    folder = run(corpus(tmp_path / "a", 5), tmp_path / "f")
    shard = folder / "shard-00000.h5"
    with h5py.File(shard, "r+") as file:
        file["std"][2, 0, 7] = 1.5
    sidecar(shard).write_text(f"{sha256_of(shard)}  {shard.name}\n")
    damages = {damage.path.name: damage.reason for damage in verify(folder)}
    assert "rows or features were changed" in damages["shard-00000.h5"]
    with h5py.File(shard, "r+") as file:
        del file["std"]
        file.create_dataset("std", data=np.zeros((1, 1, 128), np.float16))
    sidecar(shard).write_text(f"{sha256_of(shard)}  {shard.name}\n")
    damages = {damage.path.name: damage.reason for damage in verify(folder)}
    assert "damaged" in damages["shard-00000.h5"]


def test_a_cache_without_deviations_goes_on_without_and_says_how_to_get_them(tmp_path, monkeypatch):
    clips = corpus(tmp_path / "a", 45)
    with monkeypatch.context() as older:
        older.setattr(jobs, "pooling_of", lambda extractor, level: "")
        folder = run(clips[:20], tmp_path / "f")
    with FeatureCache(folder) as cache:
        before = {i: cache.read(int(rows[0])) for i, rows in cache.rows_of.items()}
    assert run(clips, tmp_path / "f") == folder
    assert verify(folder) == []
    with FeatureCache(folder) as cache:
        assert len(cache.rows_of) == 45
        assert all(np.array_equal(cache.read(int(cache.rows_of[i][0])), old)
                   for i, old in before.items())  # fmt: skip
        said = f"run svuprobe cache prune {folder} --model logmel, then svuprobe extract again"
        with pytest.raises(ExtractError, match="holds means alone") as error:
            cache.std  # noqa: B018
        assert said in str(error.value)
    api.cache_prune(folder, model="logmel")
    run(clips, tmp_path / "f")
    with FeatureCache(folder) as cache:
        assert cache.std.shape == cache.features.shape
        # The mean is what it was, to the bit.
        assert all(np.array_equal(cache.read(int(cache.rows_of[i][0])), old)
                   for i, old in before.items())  # fmt: skip


def test_a_models_own_embedding_of_a_window_has_no_deviation(tmp_path):
    inner = load("logmel")

    def pooled(audio, lengths):
        return inner(audio, lengths)[0].amax(dim=2)

    names = ("name", "revision", "digest", "parameters", "normalization", "layer_names", "dim",
             "sample_rate", "hop", "receptive_field", "to")  # fmt: skip
    own = SimpleNamespace(**{name: getattr(inner, name) for name in names}, pooled=pooled)
    with FeatureCache(run(corpus(tmp_path / "a", 3), tmp_path / "f", own)) as cache:
        assert cache.header.pooling == "own"
        assert set(h5py.File(cache.directory / "shard-00000.h5")) >= {"features"}
        with pytest.raises(ExtractError, match="a whole window itself, which has no deviation"):
            cache.std  # noqa: B018


@pytest.mark.parametrize("lacking", [("pooling",), ("pooling", "recipe")])
def test_caches_that_are_older_than_a_field_are_still_read(tmp_path, lacking, monkeypatch):
    monkeypatch.setattr(jobs, "pooling_of", lambda extractor, level: "")
    folder = run(corpus(tmp_path / "a", 3), tmp_path / "f")
    shard, joined = folder / "shard-00000.h5", folder / "features.h5"
    with h5py.File(shard, "r+") as file:
        for name in lacking:
            del file.attrs[name]
    sidecar(shard).write_text(f"{sha256_of(shard)}  {shard.name}\n")
    joined.unlink()
    join(folder)
    header, _ = read_shard(shard)
    assert (header.pooling, header.recipe) == ("", "")
    index = read_index(joined)
    held = {name: v for name, v in header.attributes().items() if name not in lacking}
    with h5py.File(joined, "r+") as file:  # as a version without these fields joined it
        for name in lacking:
            del file.attrs[name]
        file.attrs["index_sha256"] = index.digest_of(held)
    sidecar(joined).write_text(f"{sha256_of(joined)}  {joined.name}\n")
    assert verify(folder) == []
    with FeatureCache(folder) as cache:
        assert cache.features.shape[1:] == (1, 128)
