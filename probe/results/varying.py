"""Tell which metrics of a result depend on what was answered."""

from __future__ import annotations

from svuprobe.probe.results.result import Result
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.metrics import varies


def varying_metrics(result: Result) -> list[str]:
    """Return the metrics of a result without those that no answer changes, which older results may
    have: ``top2`` of two classes is always 1.
    """
    task = result.task
    if not kinds.named(task.kind).has_classes:
        return list(result.scores)
    return [name for name in result.scores if varies(name, len(task.labels))]
