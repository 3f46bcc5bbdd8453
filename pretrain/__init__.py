"""Pre-train: turn a folder of audio into a frozen model that the other stages load like any other.

`recipe` and `presets` say how a model is trained; `recordings` finds audio and decodes it once;
`crops` deals out batches; `spectra`, `targets` and `clusters` make what is predicted; `networks`
and ``objectives/`` are the models and their losses; `train` is the loop, `run` the stage from end
to end, `model_folder` what it leaves. Nothing here knows of probing: what it makes is a checkpoint
on disk, ``hf:FOLDER``. ``open_audio/`` makes the audio that svuprobe-small is trained on.
"""
