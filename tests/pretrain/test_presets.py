"""Presets against fairseq's configurations, and recipes of one's own."""

from dataclasses import fields, replace

import pytest

from svuprobe.pretrain.presets import PAPER, PRESETS
from svuprobe.pretrain.recipe import CHOICES, RANGES, PretrainError, Recipe, load_recipe

# What base_librispeech.yaml and hubert_base_librispeech.yaml say, and the defaults of
# models/data2vec_audio.py and models/hubert/hubert.py for what they leave out.
DATA2VEC = {
    "task.normalize": True,
    "task.min_sample_size": 32_000,
    "dataset.max_tokens": 3_800_000,
    "distributed_training.distributed_world_size": 16,
    "optimization.max_update": 400_000,
    "optimization.lr": 5e-4,
    "optimization.clip_norm": 0.0,
    "optimizer.adam_betas": (0.9, 0.98),
    "optimizer.adam_eps": 1e-6,
    "optimizer.weight_decay": 0.01,
    "lr_scheduler._name": "tri_stage",
    "lr_scheduler.phase_ratio": (0.03, 0.9, 0.07),
    "lr_scheduler.init_lr_scale": 0.01,
    "lr_scheduler.final_lr_scale": 0.01,
    "model.encoder_layerdrop": 0.05,
    "model.dropout": 0.1,
    "model.attention_dropout": 0.1,
    "model.activation_dropout": 0.0,
    "model.dropout_input": 0.0,
    "model.feature_grad_mult": 1.0,
    "model.mask_prob": 0.65,
    "model.mask_length": 10,
    "apply_mask.min_masks": 1,
    "model.average_top_k_layers": 8,
    "model.ema_decay": 0.999,
    "model.ema_end_decay": 0.9999,
    "model.ema_anneal_end_step": 30_000,
    "model.min_target_var": 0.1,
    "model.min_pred_var": 0.01,
}
HUBERT = {
    "task.normalize": False,
    "task.max_sample_size": 250_000,
    "task.min_sample_size": 32_000,
    "dataset.max_tokens": 1_400_000,
    "distributed_training.distributed_world_size": 32,
    "optimization.max_update": 400_000,
    "optimization.lr": 5e-4,
    "optimization.clip_norm": 10.0,
    "optimizer.adam_betas": (0.9, 0.98),
    "optimizer.adam_eps": 1e-6,
    "optimizer.weight_decay": 0.01,
    "lr_scheduler._name": "polynomial_decay",
    "lr_scheduler.warmup_updates": 32_000,
    "lr_scheduler.end_learning_rate": 0.0,
    "criterion.pred_masked_weight": 1.0,
    "criterion.pred_nomask_weight": 0.0,
    "criterion.loss_weights": 10.0,
    "model.encoder_layerdrop": 0.05,
    "model.dropout": 0.1,
    "model.attention_dropout": 0.1,
    "model.activation_dropout": 0.0,
    "model.dropout_input": 0.1,
    "model.feature_grad_mult": 0.1,
    "model.mask_prob": 0.8,
    "model.mask_length": 10,
    "apply_mask.min_masks": 2,
    "model.final_dim": 256,
    "model.logit_temp": 0.1,
}


def told(recipe):
    """A recipe in fairseq's words."""
    schedule = {"tri_stage": "tri_stage", "polynomial": "polynomial_decay"}[recipe.schedule]
    decay = round(1 - recipe.warmup - recipe.hold, 9)
    return {
        "task.normalize": recipe.normalize,
        "task.max_sample_size": round(recipe.crop_s * 16_000),
        "task.min_sample_size": round(recipe.least_s * 16_000),
        "optimization.max_update": recipe.steps,
        "optimization.lr": recipe.learning_rate,
        "optimization.clip_norm": recipe.clip_norm,
        "optimizer.adam_betas": (0.9, recipe.beta2),
        "optimizer.adam_eps": recipe.epsilon,
        "optimizer.weight_decay": recipe.weight_decay,
        "lr_scheduler._name": schedule,
        "lr_scheduler.phase_ratio": (recipe.warmup, recipe.hold, decay),
        "lr_scheduler.init_lr_scale": recipe.first_rate,
        "lr_scheduler.final_lr_scale": recipe.last_rate,
        "lr_scheduler.warmup_updates": round(recipe.steps * recipe.warmup),
        "lr_scheduler.end_learning_rate": recipe.last_rate,
        "criterion.pred_masked_weight": recipe.masked_weight,
        "criterion.pred_nomask_weight": recipe.unmasked_weight,
        "criterion.loss_weights": recipe.feature_penalty,
        "model.encoder_layerdrop": recipe.layerdrop,
        "model.dropout": recipe.dropout,
        "model.attention_dropout": recipe.attention_dropout,
        "model.activation_dropout": recipe.activation_dropout,
        "model.dropout_input": recipe.input_dropout,
        "model.feature_grad_mult": recipe.feature_gradient,
        "model.mask_prob": recipe.mask_probability,
        "model.mask_length": recipe.mask_span,
        "apply_mask.min_masks": recipe.least_masks,
        "model.average_top_k_layers": recipe.top_layers,
        "model.ema_decay": recipe.ema_start,
        "model.ema_end_decay": recipe.ema_end,
        "model.ema_anneal_end_step": recipe.ema_steps,
        "model.min_target_var": recipe.least_target_std,
        "model.min_pred_var": recipe.least_prediction_std,
        "model.final_dim": recipe.label_dim,
        "model.logit_temp": recipe.temperature,
    }


@pytest.mark.parametrize(("name", "wanted"), [("music2vec", DATA2VEC), ("musichubert", HUBERT)])
def test_the_two_papers_recipes_are_fairseqs(name, wanted):
    recipe = PRESETS[name]
    # A step holds all GPUs' audio at once.
    samples = wanted["dataset.max_tokens"] * wanted["distributed_training.distributed_world_size"]
    assert recipe.batch_s == samples / 16_000
    described = told(recipe)
    for key, value in wanted.items():
        if not key.startswith(("dataset.", "distributed_training.")):
            assert described[key] == value, key
    # What svuprobe adds is off.
    assert (recipe.speeds, recipe.gain_db, recipe.mix_probability) == ((1.0,), 0.0, 0.0)


def test_musichubert_clusters_as_fairseqs_simple_kmeans():
    recipe = PRESETS["musichubert"]
    assert (recipe.targets, recipe.cluster_share, recipe.cluster_inits) == (
        ("mfcc39:2000",),
        0.1,
        20,
    )
    assert recipe.logits == "cosine"


# The tables of arXiv:2307.05161: what each model has other than the first of its kind.
TABLES = {
    "music2vec": {},
    "music2vec-span5": {"mask_span": 5},
    "music2vec-span15": {"mask_span": 15},
    "music2vec-prob50": {"mask_probability": 0.5},
    "music2vec-prob80": {"mask_probability": 0.8},
    "music2vec-800k": {"steps": 800_000},
    "music2vec-target12": {"top_layers": 12},
    "music2vec-crop5s": {"crop_s": 5.0},
    "musichubert": {},
    "musichubert-k500": {"targets": ("mfcc39:500",)},
    "musichubert-k500-mfcc60": {"targets": ("mfcc60:500",)},
    "musichubert-iter2": {"targets": ("layer6:2000",), "teacher": "hf:./musichubert"},
}


def test_the_papers_twelve_models_are_there():
    assert set(PAPER) == set(TABLES)
    for name, changes in TABLES.items():
        first = PRESETS[name.partition("-")[0]]
        assert PRESETS[name] == replace(first, name=name, **changes)
    assert len({PRESETS[name].hash for name in PRESETS}) == len(PRESETS)


def test_a_preset_is_found_by_its_own_name():
    for name, recipe in PRESETS.items():
        assert recipe.name == name
        assert load_recipe(name, PRESETS) is recipe


def other_value(field):
    """Another value that a field of `small` may have."""
    value = getattr(Recipe(), field.name)
    if field.name in CHOICES:
        return next(choice for choice in CHOICES[field.name] if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (2.0,) if field.name == "speeds" else value[:1]
    if isinstance(value, str):
        return f"{value}2"
    low, high = RANGES[field.name]
    near = value + 1 if isinstance(value, int) else value * 0.999 if value else 0.001
    return near if low <= near <= high else low


@pytest.mark.parametrize(
    "field", [f for f in fields(Recipe) if f.name != "name"], ids=lambda f: f.name
)
def test_the_hash_covers_every_field(field):
    first = replace(Recipe(), objective="clusters", size="tiny")
    changed = (
        Recipe() if field.name == "size" else replace(first, **{field.name: other_value(field)})
    )
    assert changed != first
    assert changed.hash != first.hash


def test_the_hash_does_not_cover_the_name():
    assert replace(Recipe(), name="mine").hash == Recipe().hash


def test_the_hash_is_the_same_on_every_machine():
    names = ("music2vec", "musichubert")
    hashes = ["ac8c6c7bcb90dae5", "6be37b06a039b5c9"]
    assert [PRESETS[name].hash for name in names] == hashes


def test_every_number_of_a_recipe_has_a_range():
    for field in fields(Recipe):
        value = getattr(Recipe(), field.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert field.name in RANGES


# Recipes of one's own


def own(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe(str(path), PRESETS)


def test_a_toml_file_changes_a_preset(tmp_path):
    text = 'preset = "music2vec"\ncrop_s = 5\nspeeds = [1, 1.25]\nlayerdrop = 0.0\n'
    recipe = own(tmp_path, text)
    wanted = replace(
        PRESETS["music2vec"], name="mine", crop_s=5.0, speeds=(1.0, 1.25), layerdrop=0.0
    )
    assert recipe == wanted
    assert type(recipe.crop_s) is float
    assert own(tmp_path, "") == replace(PRESETS["small"], name="mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", "no TOML"),
        (b"\xff", "no TOML"),
        ("mask_prob = 0.8", "a recipe has no field 'mask_prob'; did you mean mask_probability?"),
        ("preset = 'smal'", "preset = 'smal'; did you mean small?"),
        ("preset = ['small']", "preset = "),
        ("steps = 1.5", "steps = 1.5; it is a whole number"),
        ("steps = true", "steps = True; it is a whole number"),
        ("steps = '5'", "steps = '5'; it is a whole number"),
        ("crop_s = true", "crop_s = True; it is a number"),
        ("crop_s = nan", "crop_s = nan; it is from 0.1 to 3,600"),
        ("crop_s = inf", "crop_s = inf; it is from"),
        (f"crop_s = {10**400}", "crop_s = 1000000"),
        (f"steps = {10**12}", "steps = 1000000000000; it is from 1 to"),
        ("normalize = 1", "normalize = 1; it is true or false"),
        ("objective = 'wav2vec'", "objective = 'wav2vec'; it is one of data2vec, clusters"),
        ("objective = 5", "objective = 5; it is text"),
        ("targets = 'mfcc39:500'", "targets = 'mfcc39:500'; it is a list"),
        ("targets = [500]", "targets = 500; it is text"),
        ("targets = []", "clusters need at least one"),
        ("targets = ['mfcc39:5', 'mfcc39:5']", "each once"),
        ("speeds = ['fast']", "speeds = 'fast'; it is a number"),
        ("speeds = [nan]", "each is from 0.25 to 4"),
        ("speeds = [1, 1.0]", "each once"),
        ("speeds = []", "at least one"),
        ("speeds = 1.0", "it is a list"),
        ("warmup = 0.6\nhold = 0.6", "together they are at most 1"),
        ("least_s = 8", "least_s = 8.0 is more than crop_s = 4.0"),
        ("mix_least_db = 30", "mix_least_db = 30.0 is more than mix_most_db = 20.0"),
        ("objective = 'data2vec'", "data2vec is for base and tiny"),
        ("least_masks = 0", "least_masks = 0; it is from 1 to"),
        ("masked_weight = 0", "one of them is more"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path, text, message):
    with pytest.raises(PretrainError) as caught:
        own(tmp_path, text)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'mine.toml'}: ")
    assert message in line
    assert "\n" not in line
    assert len(line) < 300


def test_a_recipe_that_is_nowhere_is_said(tmp_path):
    with pytest.raises(PretrainError, match="unknown recipe 'musik2vec'; did you mean music2vec"):
        load_recipe("musik2vec", PRESETS)
    with pytest.raises(PretrainError, match="none.toml: can't be read .No such file"):
        load_recipe(str(tmp_path / "none.toml"), PRESETS)
