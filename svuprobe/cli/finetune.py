"""Fine-tune: from audio to networks trained end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from svuprobe._machine import MOST_JOBS
from svuprobe._options import ALPHA, RATE, RATE_OR_0, SHARE, Checked, whole
from svuprobe.cli.output import Output, output_options
from svuprobe.cli.shared import (
    TypedModel,
    check_tasks,
    data_of,
    data_option,
    device_option,
    display_names,
    features_option,
    names_option,
    results_option,
    tasks_option,
    track_option,
    was_given,
)
from svuprobe.extractors.names import check_name as check_model_name
from svuprobe.probe import baselines
from svuprobe.probe.finetune import protocol as ft_protocol

TRAINED = TypedModel(
    "model", lambda name: None if name in baselines.TABLE else check_model_name(name)
)
FINETUNE = Checked("preset", lambda name: None if ft_protocol.preset(name) else None)
OF_TUNING = whole(ft_protocol.RANGES)


def _refuse_idle(
    models: Sequence[str], one_stage: bool, changes: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Refuse options that another one, or what is trained, leaves nothing to do."""
    if one_stage and changes.get("frozen_epochs"):
        raise click.UsageError(
            "--one-stage leaves out the epochs that --frozen-epochs counts; give one of them"
        )
    for field in ("hidden", "dropout"):
        if options["start"] is not None and field in changes:
            raise click.UsageError(
                f"--{field} changes nothing with --from, whose heads keep their shape; leave it out"
            )
    trained = [name for name in models if name in baselines.TABLE]
    if not trained:
        return
    unfit = sorted(changes.keys() - {"epochs", "seeds"}) + ["frozen_epochs"] * one_stage
    if unfit:
        raise click.UsageError(
            f"{unfit[0]} changes nothing in baseline {trained[0]}, which is trained by its recipe; "
            "only --epochs, --seeds and --batch-size do"
        )
    if len(trained) == len(models) and was_given("preset_name"):
        raise click.UsageError(
            f"--preset changes nothing in baseline {trained[0]}, which is trained by its recipe"
        )
    bare = [name for name in trained if not baselines.find(name).needs_encoder]
    if bare and options["checkpointing"]:
        raise click.UsageError(
            f"--gradient-checkpointing changes nothing in baseline {bare[0]}, which has no blocks "
            "to compute again; leave it out"
        )


def adaptation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field of the protocol of fine-tuning that is worth changing."""
    # Decorators apply from the last to the first, and help shows them in this order.
    for option in reversed(
        (
            click.option(
                "--one-stage", is_flag=True, help="No epochs with a frozen transformer first."
            ),
            click.option(
                "--frozen-epochs",
                type=OF_TUNING["frozen_epochs"],
                help="Head and layer weights alone.",
            ),
            click.option(
                "--epochs", type=OF_TUNING["epochs"], help="Everything; of a baseline each stage."
            ),
            click.option(
                "--last-k", type=click.IntRange(1, 10_000), help="Only the last K blocks."
            ),
            click.option(
                "--lora",
                "lora_rank",
                type=click.IntRange(1, 10_000),
                help="Only adapters of this rank (peft).",
            ),
            click.option("--bitfit", is_flag=True, default=None, help="Only biases."),
            click.option(
                "--train-convolutions",
                is_flag=True,
                default=None,
                help="The convolutions on audio too.",
            ),
            click.option("--head-learning-rate", type=RATE),
            click.option("--encoder-learning-rate", type=RATE),
            click.option(
                "--mix-learning-rate", type=RATE_OR_0, help="Of the layer weights; 0 is the head's."
            ),
            click.option(
                "--hidden",
                type=OF_TUNING["hidden"],
                help="Width of the head, 0 for one linear layer.",
            ),
            click.option("--dropout", type=SHARE, help="Of the head."),
            click.option("--batch-size", type=OF_TUNING["batch_size"], help="Windows in a step."),
            click.option("--layerdrop", type=SHARE),
            click.option(
                "--spec-augment",
                is_flag=True,
                default=None,
                help="Mask stretches of time in training.",
            ),
            click.option(
                "--class-weight-alpha",
                type=ALPHA,
                help="Weights 1 / n^alpha; the task's if not given.",
            ),
            click.option(
                "--select", type=click.Choice(list(ft_protocol.SELECT)), help="Which epoch counts."
            ),
            click.option("--seeds", type=OF_TUNING["seeds"]),
        )
    ):
        command = option(command)
    return command


@click.command()
@tasks_option
@click.option(
    "--model",
    "model_names",
    type=TRAINED,
    multiple=True,
    required=True,
    help="Or a baseline; repeatable.",
)
@data_option
@features_option
@results_option
@click.option("--preset", "preset_name", type=FINETUNE, default="yamamoto2023", show_default=True)
@adaptation_options
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path, exists=True),
    help="Result of a probe whose heads to start from.",
)
@device_option
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True
)
@click.option(
    "--accumulate",
    type=click.IntRange(1, 100_000),
    default=1,
    help="Parts to compute each batch in.",
)
@click.option(
    "--gradient-checkpointing", "checkpointing", is_flag=True, help="Less memory, more time."
)
@click.option(
    "--checkpoint-steps",
    type=click.IntRange(0, 1_000_000_000),
    default=0,
    help="Also save within an epoch.",
)
@click.option("--resume", is_flag=True, help="Go on where a run was interrupted.")
@track_option
@click.option(
    "--jobs", type=click.IntRange(0, MOST_JOBS), help="Decoding processes; 0 decodes in this one."
)
@click.option("--allow-missing", is_flag=True, help="Leave out clips that can't be decoded.")
@click.option(
    "--overwrite", is_flag=True, help="Start anew where a result, or a part of one, is there."
)
@names_option
@output_options
def finetune(
    task_names: tuple[str, ...],
    model_names: tuple[str, ...],
    where: tuple[str, ...],
    preset_name: str,
    one_stage: bool,
    batch_size: int | None,
    names: tuple[tuple[str, str], ...],
    output: Output,
    **options: Any,
) -> None:
    """Train models end to end on tasks, or supervised baselines; several GPUs with accelerate
    launch.
    """
    check_tasks(task_names, options["features"])
    fields = ft_protocol.FinetuneProtocol.__dataclass_fields__
    # Options are called as the protocol's fields, so that each is one.
    changes = {k: options.pop(k) for k in list(options) if k in fields and k != "start"}
    changes = {k: value for k, value in changes.items() if value is not None}
    # Of a baseline its recipe says the rest.
    supervised: dict[str, Any] = {
        name: changes[name] for name in ("epochs", "seeds") if name in changes
    }
    _refuse_idle(model_names, one_stage, changes, options)
    if one_stage:
        changes["frozen_epochs"] = 0
    if batch_size is not None:
        changes |= {"batch_size": batch_size, "frame_batch_size": batch_size}
        supervised["batch_size"] = batch_size
    protocol = ft_protocol.preset(preset_name, **changes)
    from svuprobe import api

    start = options.pop("start")
    shown = display_names(names)
    tuned = api.finetune(
        task_names,
        model_names,
        data=data_of(where, task_names),
        results=options.pop("results"),
        protocols=[protocol, ft_protocol.RecipeProtocol(**supervised)],
        start=start,
        options=api.FinetuneOptions(**options, names=shown, reporter=output.reporter),
    )
    output.results([(each.result, each.path) for each in tuned])
