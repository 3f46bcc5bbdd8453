"""The house: which part may import which, and what a wheel holds."""

import ast
import configparser
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BY_HAND = Path("benchmarks", "speed")  # scripts, which nobody installs
# DESIGN: data flows one way.
GROUND = {"_errors", "_files", "_progress", "_text"}  # what every part stands on; it imports nothing else of ours
MAY_IMPORT = {
    "tasks": GROUND | {"tasks"},
    "extractors": GROUND | {"extractors", "tasks.types"},
    "probe": GROUND | {"probe", "extractors", "tasks"},
    "benchmarks": GROUND | {"benchmarks", "probe"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_each_part_imports_only_what_lies_before_it(folder):
    for path in sorted({*(ROOT / folder).rglob("*.py")} - {*(ROOT / "benchmarks" / "speed").glob("*.py")}):
        for name in imported(path):
            if name.startswith("svuprobe."):
                part = name.removeprefix("svuprobe.")
                allowed = any(part == a or part.startswith(f"{a}.") for a in MAY_IMPORT[folder])
                assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_the_ground_floor_imports_nothing_above_it():
    for name in GROUND:
        ours = {i for i in imported(ROOT / "svuprobe" / f"{name}.py") if i.startswith("svuprobe")}
        assert ours <= {f"svuprobe.{other}" for other in GROUND}


def test_nothing_imports_the_command_line():
    for path in ROOT.rglob("*.py"):
        if not {".venv", "build", "tests"} & set(path.relative_to(ROOT).parts):
            assert "svuprobe.cli" not in set(imported(path)), path


def test_help_answers_without_torch():
    code = "import sys, svuprobe.cli; print([m for m in ('torch', 'transformers', 'librosa') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    runs = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([Path(sys.executable).parent / "svuprobe", "--help"], capture_output=True, check=True)
        runs.append(time.perf_counter() - started)
    assert min(runs) < 0.5


def test_every_folder_is_installed_under_its_name():
    """A folder of code that setup.cfg forgets is there in a checkout, and missing for everybody who installs."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packages = config["options"]["packages"].split()
    folders = dict(line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines())
    ours = {"svuprobe", *MAY_IMPORT}
    wanted = {p.parent.relative_to(ROOT) for top in ours for p in (ROOT / top).rglob("*.py")} - {BY_HAND}
    assert {Path(folder) for folder in folders.values()} == wanted
    assert sorted(packages) == sorted(folders)
    for name, folder in folders.items():
        assert name == "svuprobe" or Path(folder) == Path(*name.split(".")[1:])
        assert (ROOT / folder / "__init__.py").read_text().startswith('"""')
