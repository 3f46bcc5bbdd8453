"""A desk at which the documentation's commands are typed."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from svuprobe._run_options import RunOptions
from svuprobe.api import data as data_stage
from svuprobe.probe.protocol import Protocol


def few_of(clips):
    """Of each split and label a clip of two groups; of test of five, as an interval asks for."""
    kept = {}
    for clip in clips:
        of_label = kept.setdefault((clip.split, str(clip.target)), {})
        if len(of_label) < (5 if clip.split == "test" else 2):
            of_label.setdefault(clip.group, clip)
    return [clip for of_label in kept.values() for clip in of_label.values()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a song and some recordings, where little ships and training is short.

    What is run is what a reader runs, on a part of the clips and for two epochs.
    """
    folder = tmp_path_factory.mktemp("desk")
    time = np.arange(16000) / 16000
    (folder / "recordings").mkdir()
    for name in ("cat", "dog"):
        for n in range(5):
            pitch = (220 if name == "cat" else 440) * (1 + n / 50)
            tone = 0.3 * np.sin(2 * np.pi * pitch * time)
            soundfile.write(folder / "recordings" / f"{name}-{n}.wav", tone, 16000)
            (folder / "pets" / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / "pets" / name / f"{n}.wav", tone, 16000)
    soundfile.write(folder / "song.wav", 0.3 * np.sin(2 * np.pi * 262 * time), 16000)
    everything, as_published = data_stage.find_clips, Protocol.for_task

    def few_clips(task, root):
        clips = everything(task, root)
        return few_of(clips) if task.dataset == "starter" else clips

    def short(protocol, task):
        found = as_published(protocol, task)
        if found.head != "network":  # which has no epochs
            return found
        return replace(found, max_epochs=2, epoch_updates=1)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data_stage, "find_clips", few_clips)
        patched.setattr(Protocol, "for_task", short)
        # Processes that decode would take longer to start than to work.
        patched.setattr(RunOptions, "decoders", 0)
        for name in ("SVUPROBE_FEATURES", "SVUPROBE_RESULTS", "SVUPROBE_DATA"):
            patched.delenv(name, raising=False)
        yield folder
