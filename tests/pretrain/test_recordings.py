"""Audio of a training: what is found, what is left out and said, and what lies on disk."""

import numpy as np
import pytest
import soundfile
from pretraining import RATE, note

from svuprobe._progress import SILENT
from svuprobe.extractors.audio import Decoders
from svuprobe.pretrain import recordings as module
from svuprobe.pretrain.recipe import PretrainError
from svuprobe.pretrain.recordings import decode, find_audio


def write(path, audio, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, **options)
    return path


def decoded(files, folder, speeds=(1.0,)):
    with Decoders(0, 60.0) as decoders:
        return decode(
            files,
            folder,
            sample_rate=RATE,
            speeds=speeds,
            decoders=decoders,
            reporter=SILENT,
        )


# Places


def test_a_folder_is_searched_with_all_below_it(tmp_path):
    for name in ("b.wav", "a.WAV", "deep/er/c.flac", ".hidden.wav", "notes.txt", "x.mid"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.wav").mkdir()
    found = [str(path.relative_to(tmp_path)) for path in find_audio([tmp_path])]
    assert found == ["a.WAV", "b.wav", "deep/er/c.flac"]


def test_manifests_name_files_from_where_they_lie(tmp_path):
    (tmp_path / "lists").mkdir()
    for name in ("a.wav", "lists/b.wav"):
        (tmp_path / name).touch()
    table = tmp_path / "lists" / "m.csv"
    table.write_text("\ufeffsource,path\nx,b.wav\nx,../a.wav\nx,\n", encoding="utf-8")
    lines = tmp_path / "lists" / "m.txt"
    lines.write_text("b.wav\n\n  ../a.wav \n")
    wanted = [tmp_path / "lists" / "b.wav", tmp_path / "lists" / ".." / "a.wav"]
    assert find_audio([table]) == find_audio([lines]) == wanted
    # Files that are named twice, and single files, are there once.
    assert find_audio([table, lines, wanted[0]]) == wanted


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", b"file,speaker\na.wav,x\n", "a manifest has a column named path"),
        ("m.csv", b"", "a manifest has a column named path"),
        ("m.csv", b'path\n"' + b"a" * 200_000 + b'"\n', "m.csv: no CSV (field larger"),
        ("m.csv", b"path\n\xff\xfe.wav\n", "not UTF-8"),
        ("m.txt", b"\xff", "not UTF-8"),
        ("m.txt", b"\n", "no sound file there"),
        ("m.txt", b"a\0b.wav\n", "is no name of a file"),
        ("", b"", "no sound file there; known are .aif"),
    ],
)
def test_a_place_without_audio_is_one_line(tmp_path, name, content, message):
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PretrainError) as caught:
        find_audio([tmp_path / name])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_place_that_is_not_there_is_said(tmp_path):
    with pytest.raises(PretrainError, match="none.wav: neither a folder of audio nor a manifest"):
        find_audio([tmp_path / "none.wav"])


# Decoding


def test_samples_of_a_16_bit_file_are_its_own(tmp_path):
    samples = np.arange(-32_768, 32_768, 7, dtype=np.int16)
    path = write(tmp_path / "a.wav", samples, subtype="PCM_16")
    recordings, problems = decoded([path], tmp_path / "run")
    (recording,) = recordings.recordings
    assert problems == []
    assert np.array_equal(np.fromfile(tmp_path / "run" / "audio.i16", "<i2"), samples)
    audio = recordings.read(recording)
    assert audio.dtype == np.float32
    assert np.array_equal(audio, soundfile.read(path, dtype="float32")[0])
    assert recording.mean == pytest.approx(audio.astype(float).mean())
    assert recording.std == pytest.approx(audio.astype(float).std())
    assert np.array_equal(recordings.read(recording, 100, 50), audio[100:150])


def test_what_exceeds_full_scale_is_cut_off(tmp_path):
    path = write(tmp_path / "a.wav", np.array([0.5, 1.5, -1.5] * 400, "f4"), subtype="FLOAT")
    recordings, _ = decoded([path], tmp_path / "run")
    audio = recordings.read(recordings.recordings[0])
    assert set(audio.tolist()) == {0.5, 32_767 / 32_768, -1.0}


def test_other_rates_and_channels_become_mono_at_16_khz(tmp_path):
    t = np.arange(44_100) / 44_100
    stereo = 0.5 * np.stack([np.sin(2 * np.pi * 440 * t), np.zeros_like(t)], axis=1)
    path = write(tmp_path / "a.flac", stereo, 44_100)
    recordings, _ = decoded([path], tmp_path / "run")
    audio = recordings.read(recordings.recordings[0])
    assert len(audio) == pytest.approx(RATE, abs=2)
    wanted = 0.25 * np.sin(2 * np.pi * 440 * np.arange(len(audio)) / RATE)
    assert audio[500:-500] == pytest.approx(wanted[500:-500], abs=2e-3)


def test_several_recordings_lie_one_after_the_other(tmp_path):
    audio = [note(hz, s) for hz, s in ((220, 0.3), (330, 0.5), (440, 0.2))]
    files = [write(tmp_path / f"{n}.wav", a) for n, a in enumerate(audio)]
    recordings, _ = decoded(files, tmp_path / "run")
    assert [r.start for r in recordings.recordings] == [0, 4800, 12_800]
    for recording, wanted in zip(recordings.recordings, audio, strict=True):
        assert recordings.read(recording) == pytest.approx(wanted, abs=1e-4)
    assert recordings.hours == pytest.approx(1.0 / 3600)


def loudest_hz(audio):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 18))
    return spectrum.argmax() * RATE / (1 << 18)


def test_a_faster_copy_is_shorter_and_higher(tmp_path):
    path = write(tmp_path / "a.wav", note(440, 1.0, harmonics=1))
    recordings, _ = decoded([path], tmp_path / "run", speeds=(0.85, 1.0, 1.18))
    assert [r.speed for r in recordings.recordings] == [0.85, 1.0, 1.18]
    for recording in recordings.recordings:
        assert recording.samples == pytest.approx(RATE / recording.speed, abs=2)
        heard = loudest_hz(recordings.read(recording))
        assert heard == pytest.approx(440 * recording.speed, abs=0.5)
    assert recordings.hours == pytest.approx(1 / 3600, rel=1e-3)  # copies are not counted


def test_files_that_give_nothing_are_named_and_the_others_used(tmp_path, monkeypatch):
    good = write(tmp_path / "good.wav", note(220, 0.3))
    silent = write(tmp_path / "silent.wav", np.zeros(8000))
    empty = write(tmp_path / "empty.wav", np.zeros(0))
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "nothing.wav").touch()
    (tmp_path / "take: 2.wav").write_text("no sound")
    files = [tmp_path / "missing.wav", silent, empty, tmp_path / "text.wav"]
    files += [tmp_path / "nothing.wav", tmp_path / "take: 2.wav", good]
    recordings, problems = decoded(files, tmp_path / "run")
    assert [r.path for r in recordings.recordings] == [str(good)]
    assert len(problems) == 6
    for file, line in zip(files, problems, strict=False):
        assert line.startswith(f"{file}: ")
        assert "\n" not in line
    assert "silent from beginning to end" in problems[1]
    # They are known the next time, and neither decoded nor named twice.
    monkeypatch.setattr(module._Writer, "add", None)
    again, lines = decoded(files, tmp_path / "run")
    assert (again.recordings, lines) == (recordings.recordings, problems)


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        (1e-6 * note(220, 0.3), "silent from beginning to end"),
        (np.full(8000, 0.5), "one constant value from beginning to end"),
        (3e4 * note(220, 0.3), "full scale is 1"),
        (np.full(8000, 3e4), "full scale is 1"),
    ],
)
def test_samples_of_which_16_bits_keep_nothing_are_left_out(tmp_path, audio, said):
    bad = write(tmp_path / "bad.wav", audio, subtype="FLOAT")
    good = write(tmp_path / "good.wav", note(220, 0.3))
    recordings, (line,) = decoded([bad, good], tmp_path / "run")
    assert [r.path for r in recordings.recordings] == [str(good)]
    assert line.startswith(f"{bad}: ")
    assert said in line


def test_samples_a_little_over_full_scale_are_used(tmp_path):
    loud = write(tmp_path / "loud.wav", 2 * note(220, 0.3) / 0.2, subtype="FLOAT")
    recordings, problems = decoded([loud], tmp_path / "run")
    assert (len(recordings.recordings), problems) == (1, [])


def test_no_file_that_can_be_read_is_an_error(tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(PretrainError, match="none of 1 sound files can be read: .*a.wav"):
        decoded([tmp_path / "a.wav"], tmp_path / "run")


@pytest.mark.parametrize("speeds", [(1.0,), (0.9, 1.0)])
def test_an_interrupted_decoding_goes_on_to_the_same_bytes(tmp_path, speeds, monkeypatch):
    files = [write(tmp_path / f"{n}.wav", note(200 + 50 * n, 0.1)) for n in range(6)]
    (tmp_path / "3.wav").write_text("no sound")
    wanted, problems = decoded(files, tmp_path / "whole", speeds)
    monkeypatch.setattr(module, "_SAVED_EVERY", 2)
    add = module._Writer.add
    calls = []

    def interrupted(writer, *args):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(args)
        add(writer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(module._Writer, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decoded(files, tmp_path / "run", speeds)
    # A line that was being written, and samples that no line names.
    with (tmp_path / "run" / "audio.jsonl").open("ab") as index:
        index.write(b'{"recording": {"path": "')
    with (tmp_path / "run" / "audio.i16").open("ab") as out:
        out.write(b"\1\2" * 100)
    seen = []
    monkeypatch.setattr(
        module._Writer,
        "add",
        lambda writer, path, *rest: (seen.append(path), add(writer, path, *rest)),
    )
    recordings, lines = decoded(files, tmp_path / "run", speeds)
    assert 0 < len(seen) < 6
    assert (recordings.recordings, lines) == (wanted.recordings, problems)
    assert (tmp_path / "run" / "audio.i16").read_bytes() == (
        tmp_path / "whole" / "audio.i16"
    ).read_bytes()


def test_other_or_changed_files_are_decoded_anew(tmp_path):
    files = [write(tmp_path / f"{n}.wav", note(220, 0.2)) for n in range(2)]
    first, _ = decoded(files, tmp_path / "run")
    write(files[1], note(220, 0.3))
    changed, _ = decoded(files, tmp_path / "run")
    assert [r.samples for r in changed.recordings] == [3200, 4800]
    only, _ = decoded(files[1:], tmp_path / "run")
    assert [r.samples for r in only.recordings] == [4800]
    other, _ = decoded(files[1:], tmp_path / "run", speeds=(1.0, 2.0))
    assert [r.samples for r in other.recordings] == [4800, 2400]
    assert len({each.digest for each in (first, changed, only, other)}) == 4


def test_an_index_that_is_damaged_is_no_index(tmp_path):
    files = [write(tmp_path / "a.wav", note(220, 0.2))]
    wanted, _ = decoded(files, tmp_path / "run")
    for content in (b"", b"\xff", b"[]\n", b"{}\n", b"null\n"):
        (tmp_path / "run" / "audio.jsonl").write_bytes(content)
        recordings, _ = decoded(files, tmp_path / "run")
        assert recordings.recordings == wanted.recordings


def test_the_digest_is_of_contents_in_their_order_and_not_of_places(tmp_path):
    audio = [note(220, 0.2), note(330, 0.2)]
    here = [write(tmp_path / "here" / f"{n}.wav", a) for n, a in enumerate(audio)]
    there = [write(tmp_path / "there" / f"{n}.wav", a) for n, a in enumerate(audio)]
    swapped = [write(tmp_path / "swap" / f"{1 - n}.wav", a) for n, a in enumerate(audio)]
    digests = [
        decoded(sorted(files), tmp_path / f"run{n}")[0].digest
        for n, files in enumerate((here, there, swapped))
    ]
    assert digests[0] == digests[1]
    # A target is told by a recording's place in the order, so it may not be taken for another's.
    assert digests[2] != digests[0]
