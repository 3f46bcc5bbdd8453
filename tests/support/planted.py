"""Caches whose truth is known: features made up, no audio behind them."""

import numpy as np

from svuprobe.extractors.cache import Header, Row, ShardWriter, join, plan_shards
from svuprobe.extractors.jobs import cache_folder
from svuprobe.tasks import kinds, load


def header(task, layers=13, dim=16, name="hf:made/up", rate=(16000, 320), level=None):
    return Header(
        model=name,
        revision="0123456789abcdef",
        digest="d1",
        parameters=7,
        sample_rate=rate[0],
        hop=rate[1],
        receptive_field=400,
        layer_names=("input", *(f"block{n:02d}" for n in range(1, layers))),
        dim=dim,
        normalization="none",
        dtype="float32",
        dataset=task.dataset,
        windowing=task.windowing.key,
        level=level or kinds.of(task).level,
    )


def write_cache(features, head, states):
    """``states``: clip id -> list of windows, each (1 or frames, layers, dim)."""
    folder = cache_folder(features, head)
    for name, ids in plan_shards(folder, head, dict.fromkeys(states, 1.0)).items():
        with ShardWriter(folder / name, head) as writer:
            for clip_id in ids:
                start = 0.0
                for number, window in enumerate(states[clip_id]):
                    n = len(window) if head.level == "frame" else 50
                    writer.append(
                        np.asarray(window, dtype=np.float16), [Row(clip_id, number, start, n, "")]
                    )
                    start += n * head.hop / head.sample_rate
            writer.commit({})
    join(folder)
    return folder


def write_task(folder, name, kind, rows, **keys):
    """A TOML and its CSV; the audio files it names do not exist, and nothing may open them."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(rows[0])
    lines = [",".join(columns), *(",".join(str(row[c]) for c in columns) for row in rows)]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    more = "".join(
        f"{k} = {v!r}\n".replace("'", '"').replace("True", "true") for k, v in keys.items()
    )
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\nkind = "{kind}"\nmetadata = "{name}.csv"\n{more}')
    return path


def classes(folder, *, n_classes=4, per_class=30, name="shapes", **keys):
    """A multiclass task with 3/1/1 of five groups per split: its TOML and its clips."""
    splits = ["train", "train", "train", "valid", "test"]
    rows = [
        {
            "path": f"c{c}-{n}.wav",
            "target": f"class{c}",
            "split": splits[n % 5],
            "group": f"g{n % 5}{n % 10}",
        }
        for c in range(n_classes)
        for n in range(per_class)
    ]
    path = write_task(folder, name, "multiclass", rows, **keys)
    return path, load(str(path)).clips(folder)


def planted_states(clips, *, layer, layers=13, dim=16, strength=2.0, seed=0, windows=1):
    """Noise in every layer; the class's direction in one of them only."""
    rng = np.random.default_rng(seed)
    names = sorted({clip.target for clip in clips})
    direction = rng.normal(size=(len(names), dim))
    states = {}
    for clip in clips:
        made = rng.normal(size=(windows, 1, layers, dim))
        made[:, 0, layer] += strength * direction[names.index(clip.target)]
        states[clip.id] = list(made)
    return states
