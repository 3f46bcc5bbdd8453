"""Make synthetic singing and music: small seeded corpora in the layouts of real ones, for offline
use.

``voice``, ``vocal_tract`` and ``instruments`` make sounds, ``techniques`` is how a voice sings and
``takes`` what, ``corpus`` writes files, and each dataset is a module. Results on these data say
that the chain works; they say nothing about a model's worth on real voices.
"""

# Dataset -> "module:function" that writes it, called as
# f(root, clips, seed, reporter); imported when needed.
CORPORA: dict[str, str] = {
    "vocalset": "svuprobe.tasks.synth.vocalset:write",
    "mir-st500": "svuprobe.tasks.synth.mir_st500:write",
    "gtzan": "svuprobe.tasks.synth.gtzan:write",
    "giantsteps": "svuprobe.tasks.synth.giantsteps:write",
    "emomusic": "svuprobe.tasks.synth.emomusic:write",
    "nsynth": "svuprobe.tasks.synth.nsynth:write",
    "artist20": "svuprobe.tasks.synth.artist20:write",
    "magnatagatune": "svuprobe.tasks.synth.magnatagatune:write",
    "mtg-jamendo": "svuprobe.tasks.synth.mtg_jamendo:write",
    "vocadito": "svuprobe.tasks.synth.vocadito:write",
    "medleydb-melody": "svuprobe.tasks.synth.medleydb_melody:write",
    "chords1217": "svuprobe.tasks.synth.chords1217:write",
    "gtsinger": "svuprobe.tasks.synth.gtsinger:write",
    "harmonix": "svuprobe.tasks.synth.harmonix:write",
    "singmos": "svuprobe.tasks.synth.singmos:write",
}
