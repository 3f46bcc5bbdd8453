"""Synthetic copies of whole layouts: the same bytes again, whatever their size and threads."""

import json

import numpy as np
import pytest
import soundfile

from svuprobe._progress import Reporter
from svuprobe.tasks import find_clips, structure, technique_detection
from svuprobe.tasks.synth import gtsinger, harmonix, medleydb_melody, singmos

WRITERS = {
    "gtsinger": gtsinger.write,
    "harmonix": harmonix.write,
    "medleydb-melody": medleydb_melody.write,
    "singmos": singmos.write,
}


def files_of(root):
    return json.loads((root / "SYNTHETIC.json").read_text())["files"]


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_seed_gives_the_same_bytes_and_goes_on_where_it_stopped(name, tmp_path):
    for folder, clips, seed, jobs in (("a", 3, 7, 1), ("b", 4, 7, 2), ("c", 3, 8, 1)):
        WRITERS[name](tmp_path / folder, clips, seed, jobs=jobs)
    a, b, c = (files_of(tmp_path / folder) for folder in "abc")
    lists = {"dataset/metadata.csv", "metadata.csv"}
    assert {p: h for p, h in a.items() if p not in lists}.items() <= b.items()
    sounds = [path for path in a if path.endswith((".wav", ".flac"))]
    assert len(sounds) == 3
    assert all(a[path] != c[path] for path in sounds if path in c)

    def stop_after_one(items, total, desc, unit):
        yield next(iter(items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WRITERS[name](tmp_path / "cut", 3, 7, Reporter(make_bar=stop_after_one), jobs=1)
    WRITERS[name](tmp_path / "cut", 3, 7, jobs=1)
    assert files_of(tmp_path / "cut") == a


def test_every_singer_of_gtsinger_sings_each_technique(tmp_path, monkeypatch):
    monkeypatch.setattr(gtsinger, "_sung", lambda *args: np.zeros(160, np.float32))
    gtsinger.write(tmp_path, None, 0)
    sung = {}
    for clip in find_clips(technique_detection.TASK, tmp_path):
        sung.setdefault(clip.group, set()).update(label for _, _, label in clip.target)
    assert len(sung) == 20
    assert all(labels == set(technique_detection.LABELS) for labels in sung.values())


def test_sections_of_the_harmonix_set_sound_as_long_as_they_are_annotated(tmp_path):
    harmonix.write(tmp_path, 4, 0)
    quiet = 0
    for clip in structure.clips(tmp_path):
        audio, rate = soundfile.read(clip.path)
        assert clip.target[-1][1] == pytest.approx(len(audio) / rate, abs=1e-3)
        for start, end, label in clip.target:
            part = audio[round(start * rate) : round(end * rate)]
            assert (np.sqrt(np.mean(part**2)) < 1e-3) == (label == "silence")
            quiet += label == "silence"
    assert quiet == 2
