"""Features without a task: the numbers of load_model, in files that others read."""

import os

import h5py
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import svuprobe
from svuprobe import cli
from svuprobe.extractors.base import ExtractError

HERE = svuprobe.RunOptions(jobs=0)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Three files of different rates and lengths, and a text that is no sound."""
    folder = tmp_path_factory.mktemp("songs")
    rng = np.random.default_rng(0)
    for name, rate, seconds in (("a", 16_000, 0.5), ("b", 44_100, 1.3), ("c", 16_000, 2.0)):
        samples = rng.normal(0, 0.1, int(rate * seconds)).astype(np.float32)
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype="FLOAT")
    (folder / "d.wav").write_text("no sound")
    return folder


def files(folder):
    return [folder / f"{name}.wav" for name in "abc"]


def test_frames_are_those_of_load_model_and_clips_their_mean(songs):
    model = svuprobe.load_model("logmel")
    every = svuprobe.embed("logmel", files(songs), level="frame", options=HERE)
    means = svuprobe.embed("logmel", files(songs), options=HERE)
    for path, frames, mean in zip(files(songs), every, means, strict=True):
        samples, rate = soundfile.read(path, dtype="float32")
        wanted = model(samples, rate)
        assert frames.features.shape == wanted.shape
        assert np.array_equal(frames.features, wanted)
        assert mean.features.shape == (1, 128)
    # The mean over the frames that lie whole in the clip.
    (alone,) = svuprobe.embed("logmel", files(songs)[:1], options=HERE)
    whole = every[0].features[:, : alone.frames].mean(axis=1)
    assert np.allclose(alone.features, whole, atol=5e-3)


def test_each_window_counts_as_its_frames_do(songs, tmp_path):
    (whole,) = svuprobe.embed("logmel", files(songs)[2:], window_s=0.75, options=HERE)
    samples, rate = soundfile.read(songs / "c.wav", dtype="float32")
    pieces = []
    for number, start in enumerate((0, 12_000, 24_000)):
        pieces.append(tmp_path / f"{number}.wav")
        soundfile.write(pieces[-1], samples[start : start + 12_000], rate, subtype="FLOAT")
    parts = svuprobe.embed("logmel", pieces, options=HERE)
    counts = [part.frames for part in parts]
    assert counts[0] == counts[1] > counts[2]
    assert whole.frames == sum(counts)
    mean = np.average([part.features for part in parts], axis=0, weights=counts)
    assert np.allclose(whole.features, mean, atol=1e-5)


def test_arrays_of_numpy(songs, tmp_path):
    done = svuprobe.embed("logmel", files(songs), tmp_path / "x.npz", options=HERE)
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["features"].shape == (3, 1, 128)
        assert np.array_equal(arrays["features"][1], done[1].features)
        assert arrays["paths"].tolist() == [str(path) for path in files(songs)]
        assert str(arrays["model"]).startswith("logmel@")
    svuprobe.embed("logmel", files(songs), tmp_path / "y.npz", level="frame", options=HERE)
    with np.load(tmp_path / "y.npz") as arrays:
        assert arrays["features"].shape[1] == arrays["frames"].sum()


def test_a_dataset_a_file_of_hdf5(songs, tmp_path):
    done = svuprobe.embed("logmel", files(songs), tmp_path / "x.h5", level="frame", options=HERE)
    with h5py.File(tmp_path / "x.h5") as file:
        assert [d.attrs["path"] for d in file["features"].values()] == [
            str(path) for path in files(songs)
        ]
        for dataset, each in zip(file["features"].values(), done, strict=True):
            assert np.array_equal(dataset[:], each.features)


def test_a_table_that_pandas_reads(songs, tmp_path):
    pandas = pytest.importorskip("pandas")
    done = svuprobe.embed("logmel", files(songs), tmp_path / "x.parquet", options=HERE)
    frame = pandas.read_parquet(tmp_path / "x.parquet")
    assert frame["path"].tolist() == [str(path) for path in files(songs)]
    assert np.allclose(np.stack(frame["features"]), np.concatenate([e.features for e in done]))


def test_a_folder_is_searched_and_what_is_no_sound_is_named(songs, tmp_path):
    words = ["embed", str(songs), "--model", "logmel", "--out", str(tmp_path / "x.npz")]
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == 1
    assert "3 files" in done.output
    assert "d.wav" in done.output
    assert "1 of 4 files failed" in done.output
    with np.load(tmp_path / "x.npz") as arrays:
        assert len(arrays["paths"]) == 3


@pytest.mark.parametrize(
    ("level", "words"), [("clip", "shorter than one frame"), ("frame", "no window is long")]
)
def test_what_the_model_refuses_holds_up_no_other_file(songs, tmp_path, level, words):
    soundfile.write(tmp_path / "short.wav", np.zeros(10), 16_000)
    soundfile.write(tmp_path / "loud.wav", np.full(8_000, 1e30), 16_000, subtype="FLOAT")
    several = [tmp_path / "short.wav", songs / "a.wav", tmp_path / "loud.wav"]
    out = tmp_path / "x.npz"
    short, good, loud = svuprobe.embed("svuprobe-small", several, out, level=level, options=HERE)
    assert short.failure.startswith(f"{short.path}: ")
    assert words in short.failure
    assert loud.failure.startswith(f"{loud.path}: ")
    assert "not finite" in loud.failure
    assert not good.failure
    with np.load(out) as arrays:
        assert arrays["paths"].tolist() == [str(good.path)]
    with pytest.raises(ExtractError, match="not finite"):
        svuprobe.load_model("svuprobe-small")(np.full(8_000, 1e30), 16_000)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_a_name_that_is_not_utf8_is_written_all_the_same(songs, tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    try:
        path.write_bytes((songs / "a.wav").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    (done,) = svuprobe.embed("logmel", [path], tmp_path / f"x{suffix}", options=HERE)
    assert not done.failure
    assert (tmp_path / f"x{suffix}").stat().st_size


def test_mistakes_are_one_line(songs, tmp_path):
    with pytest.raises(ExtractError, match=r"ends in one of \.npz, \.h5, \.parquet"):
        svuprobe.embed("logmel", files(songs), tmp_path / "x.csv", options=HERE)
    with pytest.raises(ExtractError, match=r"use \.h5 for frames"):
        svuprobe.embed("logmel", files(songs), tmp_path / "x.parquet", level="frame", options=HERE)
    with pytest.raises(ExtractError, match="level 'frames'; it is one of clip, frame"):
        svuprobe.embed("logmel", files(songs), level="frames", options=HERE)
    with pytest.raises(ExtractError, match="none of 1 files has features"):
        svuprobe.embed("logmel", [songs / "d.wav"], tmp_path / "x.npz", options=HERE)
    assert not (tmp_path / "x.npz").exists()
