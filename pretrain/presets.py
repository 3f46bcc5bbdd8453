"""List the recipes that svuprobe knows by name: the two papers', their ablations, and ``small``.

Music2Vec and MusicHuBERT (Ma et al. 2023, arXiv:2307.05161) are data2vec 1.0 and HuBERT trained on
music with fairseq's configurations for speech, of which the authors changed what their tables name:

- fairseq ``examples/data2vec/config/audio/pretraining/base_librispeech.yaml`` (Baevski et
  al. 2022);
- fairseq ``examples/hubert/config/pretrain/hubert_base_librispeech.yaml`` (Hsu et al. 2021).

Where the paper is silent the values are fairseq's. Two differ from both: a step here holds the
seconds of audio of fairseq's on 16 or 32 GPUs, as the paper does not say what its eight held; and
k-means is fitted on at most five million frames, which a tenth of 1,000 hours would exceed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from svuprobe.pretrain.recipe import Recipe

_RATE = 16_000  # Hz, of all of them: fairseq counts crops and batches in samples

MUSIC2VEC = Recipe(
    name="music2vec",
    objective="data2vec",
    size="base",
    normalize=True,
    crop_s=30.0,
    least_s=2.0,
    batch_s=16 * 3_800_000 / _RATE,  # max_tokens 3.8 M on 16 GPUs
    speeds=(1.0,),
    gain_db=0.0,
    mask_probability=0.65,
    mask_span=10,
    least_masks=1,
    top_layers=8,
    ema_start=0.999,
    ema_end=0.9999,
    ema_steps=30_000,
    targets=(),
    dropout=0.1,
    attention_dropout=0.1,
    activation_dropout=0.0,
    input_dropout=0.0,
    layerdrop=0.05,
    learning_rate=5e-4,
    weight_decay=0.01,
    clip_norm=0.0,
    schedule="tri_stage",
    warmup=0.03,
    hold=0.9,
    first_rate=0.01,
    last_rate=0.01,
    steps=400_000,
)

MUSICHUBERT = Recipe(
    name="musichubert",
    objective="clusters",
    size="base",
    normalize=False,
    crop_s=250_000 / _RATE,
    least_s=2.0,
    batch_s=32 * 1_400_000 / _RATE,  # max_tokens 1.4 M on 32 GPUs
    speeds=(1.0,),
    gain_db=0.0,
    mask_probability=0.8,
    mask_span=10,
    least_masks=2,
    targets=("mfcc39:2000",),
    cluster_share=0.1,
    most_cluster_frames=5_000_000,
    cluster_inits=20,
    logits="cosine",
    label_dim=256,
    temperature=0.1,
    feature_penalty=10.0,
    feature_gradient=0.1,
    dropout=0.1,
    attention_dropout=0.1,
    activation_dropout=0.0,
    input_dropout=0.1,
    layerdrop=0.05,
    learning_rate=5e-4,
    weight_decay=0.01,
    clip_norm=10.0,
    schedule="polynomial",
    warmup=0.08,  # 32,000 of 400,000 steps
    last_rate=0.0,
    steps=400_000,
)


def _ablations() -> list[Recipe]:
    """Return the variants of the paper's Tables 2 and 3, and the two that its outlook names."""
    m, h = MUSIC2VEC, MUSICHUBERT
    return [
        # Table 3.
        replace(m, name="music2vec-span5", mask_span=5),
        replace(m, name="music2vec-span15", mask_span=15),
        replace(m, name="music2vec-prob50", mask_probability=0.5),
        replace(m, name="music2vec-prob80", mask_probability=0.8),
        replace(m, name="music2vec-800k", steps=800_000),
        replace(m, name="music2vec-target12", top_layers=12),
        replace(m, name="music2vec-crop5s", crop_s=5.0),
        # Table 2. The second iteration clusters block 6 of the first, as HuBERT base does.
        replace(h, name="musichubert-iter2", targets=("layer6:2000",), teacher="hf:./musichubert"),
        replace(h, name="musichubert-k500", targets=("mfcc39:500",)),
        replace(h, name="musichubert-k500-mfcc60", targets=("mfcc60:500",)),
        # "Chroma music features" beside or instead of MFCC: the paper's section on future work.
        replace(h, name="musichubert-chroma", targets=("chroma12:500",)),
        replace(h, name="musichubert-mfcc-cqt", targets=("mfcc39:2000", "semitone72:500")),
    ]


PRESETS: Mapping[str, Recipe] = {
    recipe.name: recipe for recipe in (Recipe(), MUSIC2VEC, MUSICHUBERT, *_ablations())
}
# The twelve models that the paper trained, in the order of its tables.
PAPER: tuple[str, ...] = (
    "musichubert",
    "musichubert-iter2",
    "musichubert-k500",
    "musichubert-k500-mfcc60",
    "music2vec",
    "music2vec-span5",
    "music2vec-span15",
    "music2vec-prob50",
    "music2vec-prob80",
    "music2vec-800k",
    "music2vec-target12",
    "music2vec-crop5s",
)
