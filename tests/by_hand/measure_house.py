"""Measure the house: rooms, imports, sizes, comments, names.

``python tests/by_hand/measure_house.py [ROOT]``

Prints one line a figure: what it was before the rooms were built (2026-11), what it is in ROOT
(this repository if not given), and what is aimed at. Nothing fails: it is for whoever wants to know
where the house grows.
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

FOLDERS = ("tasks", "extractors", "pretrain", "probe", "benchmarks", "svuprobe")
KINDS = {"multiclass", "multilabel", "regression", "notes", "beats"}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# What a docstring begins with that is no verb in the imperative, among those that stood here.
NOT_VERBS = ("What ", "Whether ", "Of ", "How ", "Which ", "Where ", "The ", "A ", "An ", "All ")
BEFORE = {
    "flat files in extractors, probe, tasks": "26, 22, 34",
    "most files in one folder": "34",
    "circles of imports": "2",
    "comparisons with a kind's name outside tasks/kinds": "58",
    "modules over 350 lines": "12",
    "longest module": "635",
    "comments per 100 lines": "1.9",
    "comprehensions per 100 lines": "5.0",
    "lines over 100 columns": "11 %",
    "public functions of the API with Parameters": "5 %",
    "public functions of the API with an example": "< 1 %",
    "most arguments of the API": "18, 14, 12",
    "signatures that carry a bar or a line": "35",
    "docstrings that begin with no verb": "127",
    "function body, median / p90 / max": "5 / 16 / 55",
    "names of functions and classes in 4 modules or more": "load x9, run x5, Features x4",
}
AIM = {
    "circles of imports": "0",
    "comparisons with a kind's name outside tasks/kinds": "0",
    "modules over 350 lines": "0",
    "longest module": "350",
    "comments per 100 lines": ">= 4",
    "comprehensions per 100 lines": "<= 2.5",
    "lines over 100 columns": "0",
    "public functions of the API with Parameters": "100 %",
    "public functions of the API with an example": "100 %",
    "most arguments of the API": "<= 7",
    "docstrings that begin with no verb": "0",
    "function body, median / p90 / max": "about 9 / 32 / 141",
}


def modules(root: Path) -> dict[str, Path]:
    """Map the dotted name of every module that is installed to its file."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if "speed" in parts:
                continue
            parts = parts if parts[0] == "svuprobe" else ("svuprobe", *parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.Module, known: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of ours that a module imports as it is loaded, not within functions or for
    types alone.
    """
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.dump(node.test):
                waiting += node.body + node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in known:
                    yield full
                elif node.module in known:
                    yield node.module


def circles(graph: dict[str, set[str]]) -> int:
    """Count the groups of modules that import each other (strongly connected components of more
    than one).
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    number = {name: n for n, name in enumerate(graph)}
    edges = [(number[a], number[b]) for a, others in graph.items() for b in others]
    rows, columns = zip(*edges, strict=True)
    matrix = csr_matrix(([1] * len(edges), (rows, columns)), shape=(len(graph), len(graph)))
    _, group = connected_components(matrix, directed=True, connection="strong")
    return sum(count > 1 for count in Counter(group.tolist()).values())


def compares_kind(node: ast.AST) -> bool:
    """Tell whether a node compares with, or looks up by, a literal name of a kind."""
    if isinstance(node, ast.Compare):
        return any(
            isinstance(part, ast.Constant) and part.value in KINDS for part in ast.walk(node)
        )
    if isinstance(node, ast.Dict):
        return any(isinstance(key, ast.Constant) and key.value in KINDS for key in node.keys)
    return False


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body, without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def is_overload(node: ast.FunctionDef) -> bool:
    """Tell whether a node is one more signature of a function, which is documented once."""
    return any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list)


def measure(root: Path) -> dict[str, str]:
    """Measure everything in the table."""
    known = modules(root)
    texts = {name: path.read_text(encoding="utf-8") for name, path in known.items()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    lines = {name: len(text.splitlines()) for name, text in texts.items()}
    total = sum(lines.values())
    graph = {name: set(imports(tree, known)) - {name} for name, tree in trees.items()}
    comments = comprehensions = wide = kinds = carried = no_verb = 0
    bodies: list[int] = []
    places: dict[str, set[str]] = defaultdict(set)
    for name, tree in trees.items():
        tokens = tokenize.generate_tokens(io.StringIO(texts[name]).readline)
        comments += sum(token.type == tokenize.COMMENT for token in tokens)
        wide += sum(len(line) > 100 for line in texts[name].splitlines())
        for node in ast.walk(tree):
            comprehensions += isinstance(node, COMPREHENSIONS)
            kinds += ".tasks.kinds" not in name and compares_kind(node)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                bodies.append(body_lines(node))
                arguments = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
                carried += bool(arguments & {"progress", "say", "bar", "reporter"})
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                no_verb += (ast.get_docstring(node) or "").startswith(NOT_VERBS)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                places[node.name].add(name)
    flat = Counter(path.parent.relative_to(root) for path in known.values())
    rooms = [flat[Path(folder)] - 1 for folder in ("extractors", "probe", "tasks")]
    cut = statistics.quantiles(bodies, n=10)
    several = sorted(((len(at), name) for name, at in places.items() if len(at) > 3), reverse=True)
    face = [
        node
        for name, tree in trees.items()
        if name.startswith("svuprobe.api")
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and not is_overload(node)
        and f'"{node.name}"' in texts["svuprobe"]
    ]
    documents = [ast.get_docstring(node) or "" for node in face]
    counts = [len(node.args.args) + len(node.args.kwonlyargs) for node in face]
    return {
        "flat files in extractors, probe, tasks": ", ".join(map(str, rooms)),
        "most files in one folder": str(max(flat.values())),
        "circles of imports": str(circles(graph)),
        "comparisons with a kind's name outside tasks/kinds": str(kinds),
        "modules over 350 lines": str(sum(n > 350 for n in lines.values())),
        "longest module": f"{max(lines.values())} ({max(lines, key=lambda name: lines[name])})",
        "comments per 100 lines": f"{100 * comments / total:.1f}",
        "comprehensions per 100 lines": f"{100 * comprehensions / total:.1f}",
        "lines over 100 columns": f"{100 * wide / total:.1f} %",
        "public functions of the API with Parameters": (
            f"{sum('Parameters' in d for d in documents)} of {len(face)}"
        ),
        "public functions of the API with an example": (
            f"{sum('>>>' in d for d in documents)} of {len(face)}"
        ),
        "most arguments of the API": ", ".join(map(str, sorted(counts, reverse=True)[:3])),
        "signatures that carry a bar or a line": str(carried),
        "docstrings that begin with no verb": str(no_verb),
        "function body, median / p90 / max": f"{cut[4]:.0f} / {cut[8]:.0f} / {max(bodies)}",
        "names of functions and classes in 4 modules or more": ", ".join(
            f"{n} x{k}" for k, n in several
        )
        or "none",
        "lines of code": str(total),
    }


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2]
    table = [
        (what, BEFORE.get(what, ""), now, AIM.get(what, "")) for what, now in measure(where).items()
    ]
    print(tabulate(table, headers=["", "before", "now", "aim"], maxcolwidths=[None, 20, 60, 20]))
