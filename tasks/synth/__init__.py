"""Synthetic singing: small seeded corpora in the folder layouts of the real ones, so everything runs offline.

``voice`` is the instrument, ``techniques`` what it sings, ``corpora`` writes datasets. Results on these data
say that the chain works; they say nothing about a model's worth on real voices.
"""

# Dataset -> "module:function" that writes it, called as f(root, clips, seed, reporter); imported when needed.
CORPORA: dict[str, str] = {
    "vocalset": "svuprobe.tasks.synth.corpora:vocalset",
    "mir-st500": "svuprobe.tasks.synth.corpora:mir_st500",
    "gtzan": "svuprobe.tasks.synth.music:gtzan",
    "giantsteps": "svuprobe.tasks.synth.music:giantsteps",
    "emomusic": "svuprobe.tasks.synth.notes_corpora:emomusic",
    "nsynth": "svuprobe.tasks.synth.notes_corpora:nsynth",
    "artist20": "svuprobe.tasks.synth.notes_corpora:artist20",
    "magnatagatune": "svuprobe.tasks.synth.tags:magnatagatune",
    "mtg-jamendo": "svuprobe.tasks.synth.tags:mtg_jamendo",
}
