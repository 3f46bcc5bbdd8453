"""The list of the audio that svuprobe-small heard: what is in it, and what never is."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from svuprobe.pretrain.open_audio import midi, run, soundfonts, voices
from svuprobe.pretrain.open_audio.packages import PACKAGES

ROOT = Path(__file__).parents[2]
FREE = {
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "CC BY 3.0",
    "CC BY-SA 3.0",
    "CC0 1.0",
    "GFDL-1.3",
    "GPL-2",
    "GPL-2+",
    "GPL-3 or LGPL-3",
    "GPL-3+",
    "MIT",
}
# Debian packages whose recordings the tests of the leaderboard hear, or may.
NEVER = ("fretsonfire", "sonic-pi", "musescore", "fluidr3mono", "fluid-soundfont-gs")
# The instruments of `families` by General MIDI's numbers: of each family the second and third.
VALID_AND_TEST = {
    "bass": (33, 34),
    "brass": (57, 58),
    "flute": (72, 75),
    "guitar": (25, 26),
    "keyboard": (1, 4),
    "mallet": (12, 13),
    "organ": (16, 17),
    "reed": (66, 68),
    "string": (41, 42),
    "synth_lead": (81, 82),
    "vocal": (53, 54),
}


@pytest.fixture(scope="module")
def published():
    return run.published()


# What is published


def test_the_list_holds_hours_of_speech_music_and_notes(published):
    seconds = Counter()
    kinds = {package.name: package.kind for package in PACKAGES}
    for row in published:
        seconds[kinds.get(row.path.split("/")[1], "synthetic")] += row.dur_s
    hours = {kind: total / 3600 for kind, total in seconds.items()}
    assert hours["speech"] > 8
    assert hours["music"] > 4
    assert hours["font"] > 2.5
    assert hours["synthetic"] > 1


def test_each_file_of_the_list_is_there_once_and_long_enough(published):
    assert len({row.path for row in published}) == len(published)
    assert len({row.sha256 for row in published}) == len(published)
    assert min(row.dur_s for row in published) >= 0.2
    assert all(len(row.sha256) == 64 for row in published)


def test_all_of_the_list_is_under_a_free_licence(published):
    assert {row.licence for row in published} <= FREE
    assert {package.licence for package in PACKAGES} <= FREE


def test_each_recording_has_the_licence_that_the_table_gives_it(published):
    """Licences differ within a package too: of drum kits, of speakers."""
    by_name = {f"{package.name} {package.version}": package for package in PACKAGES}
    checked = 0
    for row in published:
        name, _, inside = row.source.partition(": ")
        if name in by_name:
            assert row.licence == by_name[name].licence_of(inside), row
            checked += 1
    assert checked > 20000


def test_the_list_names_a_package_of_the_table_or_what_rendered_it(published):
    known = {f"{package.name} {package.version}" for package in PACKAGES}
    for row in published:
        source = row.source.partition(": ")[0]
        if row.path.startswith(("audio/svuprobe-singing/", "audio/espeak-ng/", "audio/flite/")):
            assert source.startswith(("svuprobe.tasks.synth", "espeak-ng", "flite")), row
        else:
            assert source.removeprefix("fluidsynth, ") in known, row


def test_no_package_is_one_that_a_test_of_the_leaderboard_hears(published):
    for package in PACKAGES:
        assert not package.name.startswith(NEVER)
    assert not any("tidigits" in row.source for row in published)


def test_no_recording_of_the_starter_dataset_is_in_the_list(published):
    sources = ROOT / "tasks" / "datasets" / "starter" / "sources.csv"
    if not sources.exists():
        pytest.skip("the starter dataset isn't part of this tree")
    starter = {row["sha256"] for row in csv.DictReader(sources.read_text().splitlines())}
    assert starter
    assert not starter & {row.sha256 for row in published}


def test_the_list_plays_what_is_planned_and_nothing_else(published):
    """Each rendered file is a slot of today's plan, with its program, pitch and velocity."""
    for font in soundfonts.FONTS:
        notes, phrases = run.PLAYED[font.package]
        plan = soundfonts.single_notes(font, notes) + soundfonts.phrases(font, phrases)
        planned = {f"audio/{font.package}/{slot.name}.flac": slot.says for slot in plan}
        listed = [row for row in published if row.path.startswith(f"audio/{font.package}/")]
        assert len(listed) > 0.95 * len(plan)
        for row in listed:
            assert row.source.partition(": ")[2] == planned[row.path]


def test_the_spoken_files_of_the_list_are_those_of_the_plan(published):
    planned = {f"audio/{utterance.name}.flac" for utterance in voices.utterances(run.SPOKEN)}
    spoken = {r.path for r in published if r.path.startswith(("audio/espeak-ng", "audio/flite"))}
    assert spoken <= planned
    assert len(spoken) > 0.9 * len(planned)


# What is never played


def test_no_program_that_validates_or_tests_families_is_played():
    fluid = soundfonts.FONTS[0]
    tested = {program for pair in VALID_AND_TEST.values() for program in pair}
    assert tested <= soundfonts.TESTED
    assert not tested & set(fluid.programs)
    for slot in soundfonts.single_notes(fluid, 300) + soundfonts.phrases(fluid, 300):
        played = {p for channel, p in slot.programs.items() if channel != midi.DRUMS}
        assert not played & (soundfonts.TESTED | soundfonts.LIKE_TESTED)


def test_no_single_note_has_the_velocity_of_a_tests_note():
    for slot in soundfonts.single_notes(soundfonts.FONTS[0], 1100):
        (note,) = slot.notes
        assert note.velocity not in (50, 100)
