"""Draw a figure for a paper: python examples/paper_figure.py [TASK [FIGURE.pdf]]

Two panels, made of the files that svuprobe leaves: the score of every single layer, from the
results, and the clips in the two main directions of the best layer, from the cache. Run
which_layer.py first.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import svuprobe

PROTOCOL = "quick"  # of which_layer.py


def figure(task: str, out: str) -> None:
    """Draw the layer curves of all models, and a map of the clips in the best layer."""
    results = []
    # One protocol alone: scores of two are not to be compared.
    for path in sorted(Path("results").glob(f"*/{task}/{PROTOCOL}*.json")):
        results.append(svuprobe.load_result(path))
    if not results:
        sys.exit(f"results/: nothing on {task}; run python examples/which_layer.py {task} first")
    results.sort(key=lambda result: result.ranked.mean, reverse=True)
    best = next(result for result in results if result.best_layer)

    curves, clouds = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")[1]
    for result in results:
        names = list(result.layer_curve)
        scores = np.array([result.layer_curve[name] for name in names], float)  # (layers, seeds)
        style = "--" if result.model.control else "-"
        curves.errorbar(
            range(len(names)),
            scores.mean(axis=1),
            scores.std(axis=1, ddof=1),
            fmt=f"o{style}",
            capsize=2,
            label=result.model.name,
        )
    curves.set(xlabel="layer", ylabel=best.task.ranked, title=task)
    curves.legend(fontsize=6)

    # The mean features of each clip, in the layer that validation chose.
    with svuprobe.load_features("features", task, best.model.name) as features:
        layer = features.layer_names.index(best.best_layer)
        asked = svuprobe.load_task(task)
        folder = svuprobe.Data(Path("data")).folder(asked.dataset)
        clips = {clip.id: clip for clip in asked.clips(folder)}
        ids = [name for name in features if name in clips]
        points = np.stack([features[name][:, layer].mean(axis=0) for name in ids])  # (clips, dim)
    # Principal components: the two directions in which the clips differ most.
    centred = points - points.mean(axis=0)
    x, y = (centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T).T
    labels = np.array([str(clips[name].target) for name in ids])
    for label in sorted(set(labels)):
        clouds.scatter(x[labels == label], y[labels == label], s=4, label=label)
    clouds.legend(fontsize=5, ncols=2)
    clouds.set(title=f"{best.model.name}, {best.best_layer}", xticks=[], yticks=[])
    plt.savefig(out)
    print(out)


if __name__ == "__main__":
    figure(*(sys.argv[1:] + ["starter-pitch", "figure.pdf"][len(sys.argv) - 1 :])[:2])
