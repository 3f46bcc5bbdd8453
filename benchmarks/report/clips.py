"""Show single clips: those that most models get wrong, and events as reference and estimate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from svuprobe.benchmarks.report import timeline
from svuprobe.benchmarks.report.audio import Audio
from svuprobe.benchmarks.report.gather import Content, Reviewed, TaskPart
from svuprobe.benchmarks.report.html import Child, Html, join, tag
from svuprobe.benchmarks.report.widgets import data_table, num
from svuprobe.probe.clip_answers import ClipAnswer, has_events, marks, wrongness
from svuprobe.probe.results.naming import shown_title

MOST_CLIPS = 12
_DRAWN_CLIPS = 3


def section(part: TaskPart, content: Content, audio: Audio) -> Html | None:
    """Return the hardest clips of a task; None where no predictions are at hand."""
    chosen = _pretrained([each for each in part.reviewed if each.answers])
    if not chosen:
        return None
    drawn = None
    if has_events(chosen[0].result.task):
        drawn = _drawings(part, chosen, content, audio)
    return tag(
        "section",
        tag("h3", "Clips that most models get wrong"),
        _hardest(part, chosen, content, audio),
        drawn,
        class_="sub",
    )


def _pretrained(reviewed: Sequence[Reviewed]) -> list[Reviewed]:
    """Return the models that are no controls, or all where there are fewer than two of them."""
    chosen = [each for each in reviewed if not each.result.model.control]
    return chosen if len(chosen) > 1 else list(reviewed)


def _by_clip(reviewed: Sequence[Reviewed]) -> list[tuple[float, list[ClipAnswer]]]:
    """Return the clips that all models have answered for, the hardest first."""
    by_model = [{answer.id: answer for answer in each.answers} for each in reviewed]
    shared = [name for name in by_model[0] if all(name in known for known in by_model)]
    clips = []
    for name in shared:
        answers = [known[name] for known in by_model]
        clips.append((float(np.mean([answer.wrong for answer in answers])), answers))
    return sorted(clips, key=lambda clip: (-clip[0], clip[1][0].id))


def _hardest(part: TaskPart, reviewed: Sequence[Reviewed], content: Content, audio: Audio) -> Html:
    task = reviewed[0].result.task
    clips = content.at_hand.clips(task)
    several = _by_clip(reviewed)
    hardest = [clip for clip in several[:MOST_CLIPS] if clip[0] > 0]
    if not hardest:
        return tag("p", "Every model is right on every clip.", class_="said")
    heard = audio.playable and any(answers[0].id in clips for _, answers in hardest)
    with_truth = any(answers[0].truth for _, answers in hardest)
    rows = []
    for wrong, answers in hardest:
        first = answers[0]
        cells = [
            tag("th", first.id, scope="row", class_="clip"),
            tag("td", first.group, class_="clip"),
            *[tag("td", first.truth)] * with_truth,
            tag("td", _answered(answers, has_events(task))),
            tag("td", f"{wrong:.3g}", class_="num", data_v=f"{wrong:.6g}"),
        ]
        if heard:
            clip = clips.get(first.id)
            cells.append(tag("td", audio.player(clip, first.id) if clip else None, class_="player"))
        rows.append(tag("tr", cells))
    models = ", ".join(shown_title(each.result) for each in reviewed[:4])
    more = f" and {len(reviewed) - 4} more" if len(reviewed) > 4 else ""
    tested = f"clips of {task.folds} folds" if task.folds else "test clips"
    caption = (
        f"The {len(rows)} hardest of {len(several)} {tested}, over {len(reviewed)} models "
        f"({models}{more})"
    )
    heads: list[Child] = ["clip", "group", *["truth"] * with_truth]
    heads += ["answer", num(wrongness(task))]
    heads += [tag("th", "audio", scope="col", class_="player")] * heard
    table = data_table(caption, heads, rows, classes="clips")
    if audio.playable and not heard:
        told = "Their audio is not at hand: give --features or --data of these recordings."
        return join(table, tag("p", told, class_="said"))
    return table


def _answered(answers: Sequence[ClipAnswer], events: bool) -> str:
    """Return the answer that most models give; of events, those of the best model."""
    if events or len(answers) == 1:
        return answers[0].answer
    said: dict[str, int] = {}
    for answer in answers:
        said[answer.answer] = said.get(answer.answer, 0) + 1
    commonest, count = max(said.items(), key=lambda item: item[1])
    return f"{commonest} ({count} of {len(answers)} models)"


def _drawings(
    part: TaskPart, reviewed: Sequence[Reviewed], content: Content, audio: Audio
) -> Html | None:
    """Return the hardest, the middle and the easiest clip of the best model, as drawings."""
    best = reviewed[0]
    task = best.result.task
    clips = content.at_hand.clips(task)
    several = _by_clip(reviewed)
    places = sorted({0, len(several) // 2, len(several) - 1})[:_DRAWN_CLIPS]
    figures = []
    found = any(marks(task, each[1][0].events) for each in several)
    if not found and not any(marks(task, clip.target) for clip in clips.values()):
        return None  # a kind that is not drawn
    for place in places:
        answer = several[place][1][0]
        clip = clips.get(answer.id)
        player = audio.player(clip, answer.id) if clip and audio.playable else None
        reference = None if clip is None else clip.target
        name = shown_title(best.result)
        score = f"{task.ranked} {100 * (1 - answer.wrong):.1f}, mean over seeds"
        figures.append(
            timeline.figure(task, answer, reference, f"{answer.id}: {name}, {score}", player)
        )
    told = "The hardest, the middle and the easiest clip: reference and the first seed's estimate."
    if not any(answer[1][0].id in clips for answer in (several[place] for place in places)):
        told += " The references are not at hand: give --features or --data to see them."
    return tag("div", tag("h4", "Reference and estimate"), tag("p", told, class_="said"), figures)
