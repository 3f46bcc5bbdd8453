"""Make the open audio that svuprobe-small is trained on: anyone gets it by one command.

``python -m svuprobe.pretrain.open_audio OUT`` makes ``OUT/audio`` (mono 16 kHz FLAC files) and
``OUT/manifest.csv`` (path, seconds, SHA-256, source and licence of each). It downloads packages of
Debian 12 by ``apt-get``, of which no installation is needed; on other systems they are got from
any mirror and named by ``--debs``. ``apt-get install fluidsynth espeak-ng flite`` brings what
renders the rest.

`packages` says which packages, `recordings` converts them, `soundfonts` renders notes and phrases
(`midi`), `voices` singing and speech, `run` does all of it. ``published.csv.gz`` is the list that
svuprobe-small heard; what it never holds are the validation and test recordings of the tasks that
the leaderboard has, nor any instrument of theirs.
"""
