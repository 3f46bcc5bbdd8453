"""MagnaTagATune: the official split, the tags, and what of it lies in a folder."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from svuprobe.tasks import find_clips, kinds, tagging
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.types import SPLITS, Clip, TaskError

ROWS = split_lists.read(tagging.LIST)
BACH = "f/american_bach_soloists-j_s__bach_solo_cantatas-01-bwv54__i_aria-30-59.mp3"
UNTAGGED = "c/lvx_nova-lvx_nova-01-contimune-175-204.mp3"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture(scope="module")
def everything() -> list[Clip]:
    """The clips of a folder in which every file of the list exists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "is_dir", lambda path: True)
        patch.setattr(Path, "is_file", lambda path: path.suffix == ".mp3")
        return find_clips(tagging.TASK, Path("mtat"))


def test_the_official_numbers_hold_where_every_file_is_there(everything):
    assert Counter(clip.split for clip in everything) == tagging.TASK.expected
    assert tagging.TASK.expected == {"train": 18706, "valid": 1825, "test": 5329}


def test_the_split_is_by_folder_12_1_3(everything):
    folders = defaultdict(set)
    for clip in everything:
        folders[clip.split].add(Path(clip.path).parent.name)
    assert folders == {"train": set("0123456789ab"), "valid": {"c"}, "test": set("def")}


def test_tracks_and_albums_stay_in_one_split_and_artists_do_not(everything):
    assert len({clip.group for clip in everything}) == 5405  # find_clips has seen that none crosses
    albums, artists = defaultdict(set), defaultdict(set)
    for clip in everything:
        name = clip.group.split("/")[1]
        albums[re.split(r"-\d\d-", name)[0]].add(clip.split)
        artists[name.split("-")[0]].add(clip.split)
    assert max(map(len, albums.values())) == 1
    assert sum(len(splits) > 1 for splits in artists.values()) == 56


def test_a_track_is_the_name_without_its_seconds():
    assert (
        tagging.track_of(BACH)
        == "f/american_bach_soloists-j_s__bach_solo_cantatas-01-bwv54__i_aria"
    )
    assert all(re.fullmatch(r"[0-9a-f]/.+-\d+-\d+\.mp3", row["mp3_path"]) for row in ROWS)


def test_the_three_broken_files_are_not_asked_for(everything):
    assert not {"35644", "55753", "57881"} & {clip.id for clip in everything}


def test_tags_are_sorted_by_name_and_all_occur_in_every_split(everything):
    labels = tagging.TASK.labels
    assert len(labels) == len(set(labels)) == 50
    assert list(labels) == sorted(labels)
    for split in SPLITS:
        assert {tag for clip in everything if clip.split == split for tag in clip.target} == set(
            labels
        )


def test_numbers_of_the_list_count_tags_by_frequency(everything):
    """In another order of names sitars would not be Indian, nor operas seldom techno."""
    counts = Counter(tag for clip in everything for tag in clip.target)
    assert counts.most_common(3) == [("guitar", 4851), ("classical", 4270), ("slow", 3547)]
    assert min(counts, key=counts.get) == "choral"
    sitar = [clip for clip in everything if "sitar" in clip.target]
    assert sum("indian" in clip.target for clip in sitar) > len(sitar) / 2
    assert sum({"opera", "techno"} <= set(clip.target) for clip in everything) < 5


def test_clips_without_a_tag_are_kept_with_all_zero_targets(everything):
    assert Counter(clip.split for clip in everything if not clip.target) == {
        "train": 3459,
        "valid": 296,
        "test": 997,
    }
    some = [clip for clip in everything if clip.id in ("2", "19")]
    targets = kinds.of(tagging.TASK).encode(tagging.TASK, tagging.TASK.labels, some)
    assert targets.sum(axis=1).tolist() == [4, 0]
    assert [tagging.TASK.labels[n] for n in np.flatnonzero(targets[0])] == [
        "classical",
        "opera",
        "strings",
        "violin",
    ]


def test_only_the_files_that_are_there_are_clips(tmp_path):
    touch(
        tmp_path, f"mp3/{BACH}", f"mp3/{UNTAGGED}", "mp3/0/not-in-the-list-0-29.mp3", "mp3/2/2.mp3"
    )
    assert find_clips(tagging.TASK, tmp_path) == [
        Clip(
            "2",
            str(tmp_path / "mp3" / BACH),
            "test",
            ("classical", "opera", "strings", "violin"),
            group=BACH.removesuffix("-30-59.mp3"),
        ),
        Clip(
            "19",
            str(tmp_path / "mp3" / UNTAGGED),
            "valid",
            (),
            group=UNTAGGED.removesuffix("-175-204.mp3"),
        ),
    ]


def test_the_annotations_beside_the_audio_are_not_read(tmp_path):
    touch(tmp_path, f"mp3/{BACH}")
    alone = tagging.clips(tmp_path)
    (tmp_path / "annotations_final.csv").write_bytes(b"\xff not a table")
    assert tagging.clips(tmp_path) == alone


def test_a_folder_that_is_not_magnatagatune_is_refused(tmp_path):
    touch(tmp_path, BACH)
    with pytest.raises(TaskError) as error:
        find_clips(tagging.TASK, tmp_path)
    assert str(error.value).startswith(
        f"{tmp_path}: no folder mp3 in it; join mp3.zip.001 to mp3.zip.003"
    )
    (tmp_path / "mp3").mkdir()
    with pytest.raises(TaskError, match="no clip of magnatagatune found in its official layout"):
        find_clips(tagging.TASK, tmp_path)


@pytest.mark.parametrize("rate", [16000, 22050, 24000])
def test_a_clip_of_29_s_is_one_window(rate):
    assert len(tagging.TASK.windowing.spans(round(29.124 * rate), rate)) == 1
