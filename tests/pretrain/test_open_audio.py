"""How the open audio is made: plans, renderings, recordings of packages, the list."""

import csv
import io
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
from click.testing import CliRunner

from svuprobe._progress import SILENT
from svuprobe.pretrain.open_audio import (
    __main__ as command,
    midi,
    packages,
    run,
    soundfonts,
    voices,
)
from svuprobe.pretrain.open_audio.packages import PACKAGES, OpenAudioError, Package
from svuprobe.pretrain.open_audio.recordings import (
    SAMPLE_RATE,
    Row,
    Sink,
    convert,
    read,
    without_silence,
)


def tone(seconds, rate=SAMPLE_RATE, hz=440.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype("f4")


# How it is made


def test_plans_are_the_same_whenever_they_are_made_and_differ_between_fonts():
    fluid, other = soundfonts.FONTS
    assert soundfonts.phrases(fluid, 12) == soundfonts.phrases(fluid, 12)
    assert soundfonts.single_notes(fluid, 12) == soundfonts.single_notes(fluid, 12)
    assert soundfonts.single_notes(fluid, 12) != soundfonts.single_notes(other, 12)
    assert voices.utterances(50) == voices.utterances(50)


def test_a_longer_plan_begins_with_the_shorter_one():
    fluid = soundfonts.FONTS[0]
    assert soundfonts.phrases(fluid, 12)[:6] == soundfonts.phrases(fluid, 6)
    assert voices.utterances(20)[:10] == voices.utterances(10)


def test_the_notes_of_a_phrase_end_within_it():
    for slot in soundfonts.phrases(soundfonts.FONTS[1], 60):
        assert slot.notes
        for note in slot.notes:
            assert 0 <= note.onset_s < note.offset_s <= slot.seconds
            assert 0 < note.pitch < 128
            assert 0 < note.velocity < 128
            assert note.channel in slot.programs


def test_a_midi_file_has_its_events_in_time_with_lengths_of_seven_bits():
    """Middle C for one second at two thousand ticks a second; 2000 = 15 * 128 + 80."""
    note = midi.Note(0.0, 1.0, 0, 60, 64)
    content = midi.midi_file(midi.note_events([note]))
    assert content[:14] == b"MThd\0\0\0\6\0\0\0\1\x03\xe8"
    assert content[14:18] == b"MTrk"
    assert content[22:] == b"\0\x90\x3c\x40\x8f\x50\x80\x3c\0\0\xff\x2f\0"
    assert int.from_bytes(content[18:22], "big") == len(content) - 22


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth isn't here")
def test_fluidsynth_that_is_given_no_soundfont_is_one_line(tmp_path):
    (tmp_path / "no.sf2").write_bytes(b"nothing")
    slots = soundfonts.single_notes(soundfonts.FONTS[0], 1)
    with pytest.raises(OpenAudioError, match=r"fluidsynth can't render no\.sf2"):
        list(soundfonts.render(tmp_path / "no.sf2", slots, wet=False))


def test_programs_that_are_missing_are_named_with_what_installs_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    slots = soundfonts.single_notes(soundfonts.FONTS[0], 1)
    with pytest.raises(OpenAudioError, match="apt-get install fluidsynth"):
        list(soundfonts.render(tmp_path / "any.sf2", slots, wet=False))
    with pytest.raises(OpenAudioError, match="apt-get install espeak-ng flite"):
        voices.say(voices.utterances(1)[0])
    with pytest.raises(OpenAudioError, match="dpkg-deb isn't on this machine"):
        packages.unpack(tmp_path / "any.deb", tmp_path)


def test_sung_audio_is_the_same_again(tmp_path):
    first = list(voices.sung(6.0, Sink(tmp_path / "a")))
    assert first == list(voices.sung(6.0, Sink(tmp_path / "b")))
    assert sum(row.dur_s for row in first) >= 6.0


# Recordings


def test_any_rate_and_number_of_channels_becomes_mono_at_16_khz(tmp_path):
    """Left and right of opposite sign are silent; alike, they are themselves."""
    wave = tone(1.0, 44100)
    sf.write(tmp_path / "alike.wav", np.stack([wave, wave], axis=1), 44100)
    sf.write(tmp_path / "opposite.wav", np.stack([wave, -wave], axis=1), 44100)
    alike = read(tmp_path / "alike.wav")
    assert alike.dtype == np.int16
    assert len(alike) == SAMPLE_RATE
    spectrum = np.abs(np.fft.rfft(alike * np.hanning(len(alike))))
    assert np.argmax(spectrum) == 440  # bins of 1 Hz
    assert np.abs(read(tmp_path / "opposite.wav")).max() <= 1  # the file's rounding


def test_telephone_files_without_a_header_are_read_at_8_khz(tmp_path):
    with open(tmp_path / "tone.gsm", "wb") as file:
        sf.write(file, tone(1.0, 8000), 8000, format="RAW", subtype="GSM610")
    assert len(read(tmp_path / "tone.gsm")) / SAMPLE_RATE == pytest.approx(1.0, abs=0.05)


def test_digital_silence_is_cut_to_a_second_at_both_ends_and_nothing_else():
    sounding = np.array([3, 0, 0, -3], np.int16)
    long = np.zeros(3 * SAMPLE_RATE, np.int16)
    cut = without_silence(np.concatenate([long, sounding, long]))
    assert len(cut) == 2 * SAMPLE_RATE + 4
    assert (cut[SAMPLE_RATE : SAMPLE_RATE + 4] == sounding).all()
    assert (without_silence(sounding) == sounding).all()
    assert not len(without_silence(long))


def test_what_a_folder_holds_is_converted_once_and_the_rest_is_named(tmp_path):
    package = Package(
        "words", "1.0", "", "speech", "CC0 1.0", "", "usr/share/words", ("*/draft/*",),
        (("b.wav", "MIT"),),
    )  # fmt: skip
    folder = tmp_path / "unpacked" / package.folder
    (folder / "en" / "draft").mkdir(parents=True)
    wave = np.round(tone(0.5) * 32767).astype(np.int16)
    sf.write(folder / "a.wav", wave, SAMPLE_RATE)
    sf.write(folder / "b.wav", tone(0.5, hz=300.0), SAMPLE_RATE)
    sf.write(folder / "c.flac", wave, SAMPLE_RATE)
    sf.write(folder / "short.wav", tone(0.1), SAMPLE_RATE)
    sf.write(folder / "silent.wav", np.zeros(9000), SAMPLE_RATE)
    sf.write(folder / "en" / "draft" / "d.wav", tone(0.6), SAMPLE_RATE)
    (folder / "broken.ogg").write_bytes(b"OggS and no more")
    (folder / "read.me").write_text("not audio")
    made = list(convert(package, tmp_path / "unpacked", Sink(tmp_path / "out")))
    rows = [row for row in made if isinstance(row, Row)]
    assert [(row.path, row.dur_s, row.source, row.licence) for row in rows] == [
        ("audio/words/a.flac", 0.5, "words 1.0: a.wav", "CC0 1.0"),
        ("audio/words/b.flac", 0.5, "words 1.0: b.wav", "MIT"),
    ]
    left_out = [line for line in made if isinstance(line, str)]
    assert left_out[0].startswith("words 1.0: broken.ogg: ")
    assert left_out[1:] == [
        "words 1.0: c.flac: same as an earlier one",
        "words 1.0: short.wav: shorter than 0.2 s",
        "words 1.0: silent.wav: silent",
    ]
    written = sorted(path.name for path in (tmp_path / "out").rglob("*.flac"))
    assert written == ["a.flac", "b.flac"]


def test_two_recordings_of_one_name_both_stay(tmp_path):
    sink = Sink(tmp_path)
    first = sink.write("word", np.full(8000, 1, np.int16), "a", "MIT")
    second = sink.write("word", np.full(8000, 2, np.int16), "b", "MIT")
    assert (first.path, second.path) == ("audio/word.flac", "audio/word_.flac")


# Packages


def test_packages_are_named_as_apt_names_their_files():
    assert packages.package_named("klettres-data").file == "klettres-data_4%3a22.12.3-1_all.deb"
    for package in PACKAGES:
        assert package.kind in {"speech", "music", "sounds", "font"}
        assert len(package.sha256) == 64


def test_a_package_of_other_content_is_refused(tmp_path):
    package = packages.package_named("gcin-voice")
    (tmp_path / package.file).write_bytes(b"something else")
    with pytest.raises(OpenAudioError, match="its SHA-256 is .* delete it and start again"):
        packages.fetch(package, tmp_path)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb isn't here")
def test_a_file_that_is_no_package_is_one_line(tmp_path):
    (tmp_path / "words.deb").write_text("words")
    with pytest.raises(OpenAudioError, match=r"words\.deb: can't be unpacked \(.*\)"):
        packages.unpack(tmp_path / "words.deb", tmp_path / "out")


def test_where_apt_is_missing_the_command_says_which_file_to_get(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    result = CliRunner().invoke(command.main, [str(tmp_path / "out")])
    assert result.exit_code == 1
    (line,) = result.output.strip().splitlines()
    assert "asterisk-core-sounds-en-wav_1.6.1-1_all.deb" in line
    assert "--debs FOLDER" in line


@pytest.fixture
def two_parts(tmp_path, monkeypatch):
    """A package of one recording, in a file as Debian's, and one second and more of singing."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb isn't here")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: words\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <no@body>\n"
        "Description: words\n"
    )
    (tree / "usr" / "share" / "words").mkdir(parents=True)
    sf.write(tree / "usr" / "share" / "words" / "one.wav", tone(0.5), SAMPLE_RATE)
    package = Package("words", "1.0", "", "speech", "CC0 1.0", "", "usr/share/words")
    debs = tmp_path / "debs"
    debs.mkdir()
    subprocess.run(
        ["dpkg-deb", "--build", str(tree), str(debs / package.file)],
        check=True,
        capture_output=True,
    )
    package = replace(package, sha256=packages.sha256_of(debs / package.file))
    monkeypatch.setattr(run, "PACKAGES", (package,))
    monkeypatch.setattr(soundfonts, "FONTS", ())
    monkeypatch.setattr(run, "SUNG_S", 1.0)
    monkeypatch.setattr(run, "SPOKEN", 0)
    return debs


def test_a_second_run_and_one_elsewhere_give_the_same_list(two_parts, tmp_path):
    rows = run.build(tmp_path / "a", two_parts, SILENT)
    assert [row.path.split("/")[1] for row in rows] == ["svuprobe-singing", "words"]
    again = run.build(tmp_path / "a", two_parts, SILENT)
    elsewhere = run.build(tmp_path / "b", two_parts, SILENT)
    assert rows == again == elsewhere
    for row in rows:
        assert packages.sha256_of(tmp_path / "a" / row.path) == row.sha256
        assert sf.info(tmp_path / "a" / row.path).duration == pytest.approx(row.dur_s, abs=1e-3)
    text = (tmp_path / "a" / "manifest.csv").read_text()
    assert [r["path"] for r in csv.DictReader(io.StringIO(text))] == [r.path for r in rows]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["audio", "manifest.csv", "parts"]


def test_a_list_that_was_cut_off_says_what_to_do(two_parts, tmp_path):
    run.build(tmp_path / "a", two_parts, SILENT)
    kept = tmp_path / "a" / "parts" / "words.csv"
    kept.write_text(kept.read_text().replace("0.5", "half"))
    with pytest.raises(OpenAudioError, match="delete the folder parts and start again"):
        run.build(tmp_path / "a", two_parts, SILENT)


def test_the_comparison_counts_files_that_are_the_same():
    rows = [Row(f"audio/{n}.flac", 1.0, str(n) * 64, "", "MIT") for n in range(3)]
    assert run.compared(rows, rows) == (
        "3 of the 3 files of the published list are the same to the bit here"
    )
    other = [rows[0], replace(rows[1], sha256="x" * 64)]
    assert run.compared(other, rows).startswith("1 of the 3 files")
