"""Find the layer to use for your data: python examples/which_layer.py [TASK [MODEL ...]]

TASK is a task's name or the TOML file of your own (docs/own-data.md). Everything is written below
the current folder, and a second run uses what is there.
"""

import sys

import svuprobe


def which_layer(task: str, models: list[str], protocol: svuprobe.Protocol) -> None:
    """Print the best layer of each model, and whether the winner beats the runner-up."""
    # Each model runs once over the recordings; random weights and a spectrogram are the controls.
    svuprobe.extract([task], models, data="data", features="features")

    # Heads on the weighted sum of all layers, and on each single layer.
    done = svuprobe.probe([task], models, features="features", results="results", protocol=protocol)
    results = [probed.result for probed in done]
    results.sort(key=lambda result: result.ranked.mean, reverse=True)

    for result in results:
        low, high = result.ranked.ci95 or (float("nan"), float("nan"))
        print(f"{result.model.name:28} {result.ranked.mean:.3f}  95 %: {low:.3f} to {high:.3f}")
        # Chosen on validation, scored on test: an honest number, unlike the best of the curve.
        if result.best_layer:
            seeds = result.layer_curve[result.best_layer]
            print(f"{'':28} best layer {result.best_layer}: {sum(seeds) / len(seeds):.3f}")

    if len(results) > 1:
        first, second = results[0].model.name, results[1].model.name
        rows, problems = svuprobe.compare(first, second, "results")
        for row in rows:
            if row.task == results[0].task.name and row.low is not None:
                interval = f"{row.low:.3f} to {row.high:.3f}"
                print(
                    f"{first} less {second}: {row.difference:.3f}, {interval}, p {row.p_holm:.3f}"
                )
        for problem in problems:
            print(problem)


if __name__ == "__main__":
    task, *models = sys.argv[1:] or ["starter-pitch"]
    which_layer(
        task,
        models or ["svuprobe-small", "random:svuprobe-small", "logmel"],
        # Three seeds of linear heads: quick. Leave `protocol` out for the default.
        svuprobe.Protocol(name="quick", hidden=0, dropout=0.0, seeds=3),
    )
