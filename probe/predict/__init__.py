"""Answer for new audio with trained heads, and write answers as files and pictures.

The door is :mod:`svuprobe.probe.predict.predict`: ``load_predictor`` reads a head's folder, and
``predict`` and ``predict_samples`` answer for files and for audio at hand.
:mod:`svuprobe.probe.predict.formats` writes answers as text, CSV, JSON, labels for Audacity and
MIDI, :mod:`svuprobe.probe.predict.draw` as pictures.
"""
