"""The house: which part may import which, and what a wheel holds."""

import ast
import configparser
import functools
import re
import subprocess
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from svuprobe.tasks import kinds

ROOT = Path(__file__).parents[2]
BY_HAND = Path("benchmarks", "speed")  # scripts, which nobody installs
# DESIGN: data flows one way.
# What every part stands on; it imports nothing else of ours.
GROUND = {
    "_distributed",
    "_errors",
    "_files",
    "_machine",
    "_progress",
    "_run_options",
    "_system_errors",
    "_show",
    "_sizes",
    "_tensors",
    "_text",
    "_tracking",
}
MAY_IMPORT = {
    "tasks": GROUND | {"tasks"},
    "extractors": GROUND | {"extractors", "tasks.types"},
    # Its place; what it makes are checkpoints, on disk.
    "pretrain": GROUND | {"pretrain", "extractors", "tasks"},
    "probe": GROUND | {"probe", "extractors", "tasks"},
    "benchmarks": GROUND | {"benchmarks", "probe"},
}


def imported(path, known=()):
    """What a file imports, wherever in it, but for types alone; a name in ``known`` is a module,
    not in a module.
    """
    for node in imports(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if not known or alias.name in known)
        elif node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names} & set(known)
            yield from whole
            if not known or node.module in known and len(whole) < len(node.names):
                yield node.module


@functools.cache
def imports(path):
    """The statements of a file that import, but for types alone; several tests ask for them."""
    found, pending = [], [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        for node in ast.iter_child_nodes(pending.pop()):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found.append(node)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                pending += node.orelse
            elif not isinstance(node, ast.expr):  # no expression holds a statement
                pending.append(node)
    return found


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_each_part_imports_only_what_lies_before_it(folder):
    for path in sorted(
        {*(ROOT / folder).rglob("*.py")} - {*(ROOT / "benchmarks" / "speed").glob("*.py")}
    ):
        for name in imported(path):
            if name.startswith("svuprobe."):
                part = name.removeprefix("svuprobe.")
                allowed = any(part == a or part.startswith(f"{a}.") for a in MAY_IMPORT[folder])
                assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def modules():
    """Every module that is installed, by its dotted name."""
    known = {}
    for folder in ("svuprobe", *MAY_IMPORT):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if BY_HAND not in path.relative_to(ROOT).parents:
                parts = parts if folder == "svuprobe" else ("svuprobe", *parts)
                known[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return known


def test_no_folder_or_file_imports_one_that_imports_it_at_any_level():
    """Between the files and folders of a folder, with all they hold, arrows go one way; late
    imports count too.
    """
    known = modules()
    assert len(known) > 100
    # Folder -> its file or folder -> those that it imports.
    arrows = defaultdict(lambda: defaultdict(set))
    for name, path in known.items():
        for other in imported(path, known):
            a, b = name.split("."), other.split(".")
            shared = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
            if shared is not None:  # else one is the door of the other's folder
                arrows[".".join(a[:shared])][a[shared]].add(b[shared])
    for folder, each in arrows.items():
        try:
            list(TopologicalSorter(each).static_order())
        except CycleError as error:
            pytest.fail(f"in {folder}: {' -> '.join(error.args[1])}")


def test_the_ground_floor_imports_nothing_above_it():
    for name in GROUND:
        ours = {i for i in imported(ROOT / "svuprobe" / f"{name}.py") if i.startswith("svuprobe")}
        assert ours <= {f"svuprobe.{other}" for other in GROUND}


def test_nothing_imports_the_command_line():
    # (The documentation of the commands is made from them.)
    folders = [f for f in ROOT.iterdir() if f.name not in (".venv", "build", "tests", "docs")]
    files = [path for folder in folders for path in folder.rglob("*.py")] + [*ROOT.glob("*.py")]
    assert len(files) > 100
    for path in files:
        parts = path.relative_to(ROOT).parts
        if parts[:2] not in (("svuprobe", "cli"), ("svuprobe", "__main__.py")):
            assert not any(name.startswith("svuprobe.cli") for name in imported(path)), path


def test_help_answers_and_a_cache_is_read_without_torch():
    heavy = {"torch", "numpy", "transformers", "librosa"}
    code = (
        f"import sys, svuprobe.cli; print(sorted({heavy} & set(sys.modules))); "
        "import svuprobe.extractors.cache; print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == ["[]", "False"]


def names_a_kind(node, names):
    """Whether a node asks which kind something is: it compares, indexes, matches or maps with a
    kind's name.
    """
    if isinstance(node, ast.Compare):
        asked = [node.left, *node.comparators]
    elif isinstance(node, ast.Dict):
        asked = [key for key in node.keys if key is not None]
    elif isinstance(node, ast.MatchValue):
        asked = [node.value]
    elif isinstance(node, ast.Call):  # {...}.get(kind), dict.fromkeys(...)
        asked = (
            node.args
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "startswith")
            else []
        )
    else:
        return False
    inner = [part for one in asked for part in ast.walk(one)]
    return any(isinstance(part, ast.Constant) and part.value in names for part in inner)


def test_no_part_asks_which_kind_a_task_has():
    """What depends on a task's kind is a method of the kind, in tasks/kinds: a new one is one file
    there.
    """
    names = set(kinds.TABLE)
    assert len(names) >= 5
    asking = []
    # What synthesisers play has names of its own, "melody" and "chords" among them.
    apart = ("svuprobe.tasks.kinds", "svuprobe.tasks.synth", "svuprobe.pretrain.open_audio")
    for name, path in modules().items():
        # A task may be called as its kind: the table of tasks names them.
        text = path.read_text(encoding="utf-8")
        asks = any(kind in text for kind in names)  # few do, and to read syntax takes time
        if asks and name != "svuprobe.tasks" and not name.startswith(apart):
            nodes = ast.walk(ast.parse(text))
            asking += [
                f"{path.relative_to(ROOT)}:{node.lineno}"
                for node in nodes
                if names_a_kind(node, names)
            ]
    assert asking == []
    assert names_a_kind(ast.parse('task.kind in ("notes", "beats")').body[0].value, names)


def test_every_folder_is_installed_under_its_name():
    """A folder of code that setup.cfg forgets is there in a checkout, and missing for everybody who
    installs.
    """
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packages = config["options"]["packages"].split()
    folders = dict(
        line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines()
    )
    ours = {"svuprobe", *MAY_IMPORT}
    wanted = {p.parent.relative_to(ROOT) for top in ours for p in (ROOT / top).rglob("*.py")} - {
        BY_HAND
    }
    assert {Path(folder) for folder in folders.values()} == wanted
    assert sorted(packages) == sorted(folders)
    for name, folder in folders.items():
        below = Path(*name.split(".")[1:])
        # A stage lies beside svuprobe, its own parts in it.
        assert Path(folder) in (below, "svuprobe" / below)
        assert (ROOT / folder / "__init__.py").read_text().startswith('"""')


def folded(doc, names):
    """Whether the heading of a field stands within the sentences of the one before."""
    return any(re.search(rf"[.;)] {name} [A-Z`]", " ".join(doc.split())) for name in names)


def test_modules_that_tests_import_by_their_name_alone_have_names_of_their_own():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    places = defaultdict(list)
    for folder in config["tool:pytest"]["pythonpath"].split():
        for path in (ROOT / folder).glob("*.py"):
            if path.name != "conftest.py":  # which nobody imports
                places[path.name].append(folder)
    assert {name: folders for name, folders in places.items() if len(folders) > 1} == {}


def test_no_field_is_folded_into_what_is_said_of_another():
    texts = {path: path.read_text(encoding="utf-8") for path in modules().values()}
    for path in [path for path, text in texts.items() if "Attributes\n" in text]:
        for node in ast.walk(ast.parse(texts[path])):
            if isinstance(node, ast.ClassDef) and "Attributes\n" in (ast.get_docstring(node) or ""):
                names = [part.target.id for part in node.body if isinstance(part, ast.AnnAssign)]
                doc = ast.get_docstring(node)
                # With a heading on a line of its own the field is not within a sentence.
                prose = "\n".join(line for line in doc.split("\n") if line.startswith((" ", "\t")))
                assert not folded(prose, names), f"{path}: {node.name}"
    assert folded("Units; 0 for one Linear. standardize Whether each is scaled.", ["standardize"])
