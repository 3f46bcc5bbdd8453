"""Take the fenced blocks out of Markdown, and run or check what stands in them.

What a block is, is said by its first word: ``sh`` is run, command by command; ``python`` is run;
``toml`` and Python that begin with a file's name in a comment are written to that file, and so is
``csv title="NAME"``. ``{.checked}`` after it marks what would need a download, a GPU or hours: its
commands and options are checked against the command line's own parser, its calls against the
functions' signatures. ``text``, ``bibtex`` and the like are nothing to run. Any other word is an
error, so that no block is left out by mistake.
"""

from __future__ import annotations

import ast
import configparser
import inspect
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

import svuprobe
from svuprobe import cli

ROOT = Path(__file__).parents[2]
SILENT = ("text", "bibtex", "json", "md")
_INFO = re.compile(
    rf"(?P<language>sh|python|toml|csv|{'|'.join(SILENT)})"
    r"(?P<checked> {\.checked})?(?: title=\"(?P<title>[\w./-]+)\")?"
)
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_FILE = re.compile(r"^# ([\w./-]+\.(?:toml|py))\n")


@dataclass(frozen=True)
class Block:
    """Hold one fenced block: where it is, its language, and whether it is only checked."""

    place: str
    language: str
    checked: bool
    body: str
    file: str = ""  # to which it is written


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a page. Raises ValueError for one whose kind is not known."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        place = f"{path.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}"
        said = _INFO.fullmatch(match["info"])
        if said is None:
            raise ValueError(f"{place}: nobody knows what to do with a block of {match['info']!r}")
        width = len(match["indent"])
        body = "".join(line[width:] or "\n" for line in match["body"].splitlines(keepends=True))
        named = _FILE.match(body) if said["language"] in ("toml", "python") else None
        file = said["title"] or (named[1] if named else "")
        found.append(Block(place, said["language"], bool(said["checked"]), body, file))
    return found


def commands_of(body: str) -> list[list[str]]:
    """Return the words of each command: lines joined at a backslash, comments left out."""
    commands = []
    for line in body.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words:
                commands.append(words)
    return commands


def run(block: Block, names: dict[str, object]) -> None:
    """Run a block where we are, as a reader would, or check it; raise AssertionError with its
    place.
    """
    if block.language in SILENT:
        return
    if block.language in ("toml", "csv") or block.file:
        assert block.file, f"{block.place}: the block does not say the name of its file"
        Path(block.file).write_text(block.body, encoding="utf-8")
    elif block.language == "python":
        code = compile(block.body, block.place, "exec")
        if block.checked:
            check_python(block)
        else:
            exec(code, names)
    else:
        for words in commands_of(block.body):
            check_command(block.place, words)
            if not block.checked:
                run_command(block.place, words)


def run_command(place: str, words: list[str]) -> None:
    """Run a command of svuprobe in this process."""
    assert words[0] == "svuprobe", f"{place}: {words[0]} can't be run here; mark it {{.checked}}"
    result = CliRunner().invoke(cli.main, words[1:])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, f"{place}: {shlex.join(words)}\n{result.output}"


def check_command(place: str, words: list[str]) -> None:
    """Check a command against what it would meet: our parser, the Makefile, extras, files."""
    said = f"{place}: {shlex.join(words)}"
    if words[:3] == ["accelerate", "launch", "-m"]:
        words = words[3:]
    if words[0] == "uv":
        words = words[1:]
    tool, *rest = words
    if tool == "svuprobe":
        _parse(said, cli.main, rest)
    elif tool == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert set(rest) <= set(targets), said
    elif tool == "pip":
        config = configparser.ConfigParser()
        config.read(ROOT / "setup.cfg")
        for extras in re.findall(r"\[(.*?)\]", " ".join(rest)):
            assert set(extras.split(",")) <= set(config["options.extras_require"]), said
    elif tool == "python":
        assert rest[0].startswith("-") or (ROOT / rest[0]).is_file(), said
    else:
        assert tool in ("git", "cd"), f"{said}: nobody knows this program"


def _parse(said: str, command: click.Command, words: list[str]) -> None:
    """Read arguments as the command would, and do nothing."""
    parent = None
    while isinstance(command, click.Group):
        parent = click.Context(command, parent=parent)
        assert words, said
        inner = command.get_command(parent, words[0])
        assert inner, f"{said}: no command {words[0]}"
        command, words = inner, words[1:]
    try:
        command.make_context(command.name, list(words), parent=parent)
    except click.exceptions.Exit:
        pass  # --help
    except click.UsageError as error:
        raise AssertionError(f"{said}: {error.format_message()}") from None


def check_python(block: Block) -> None:
    """Check that what a block calls of svuprobe is there and takes what it is given."""
    for node in ast.walk(ast.parse(block.body)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "svuprobe"
        ):
            function = getattr(svuprobe, node.func.attr)
            keywords = {word.arg: None for word in node.keywords if word.arg}
            inspect.signature(function).bind_partial(*node.args, **keywords)


# -- code in a line of text ------------------------------------------------------------------------


def spans_of(path: Path) -> list[str]:
    """Return the pieces of code within the text of a page, each on one line."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def check_span(place: str, span: str) -> None:
    """Check that a command, or an option alone, is one that there is."""
    known: dict[str, set[str]] = {"": {"--help", "--version"}}
    for name, command in _commands(cli.main, ""):
        known[name] = {option for each in command.params for option in each.opts}
        known[name] |= {option for each in command.params for option in each.secondary_opts}
    if span.startswith("svuprobe "):
        words = span.split()[1:]
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert name in known, f"{place}: no command {name!r}"
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= known[name] | known[""], f"{place}: {span}"
    elif re.match(r"--[a-z]", span):
        option = re.split(r"[ =]", span)[0]
        assert any(option in options for options in known.values()), f"{place}: {span}"


def _commands(group: click.Group, before: str) -> list[tuple[str, click.Command]]:
    """Return all commands by their names, those of groups as ``data check``."""
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        found.append((f"{before}{name}", command))
        if isinstance(command, click.Group):
            found += _commands(command, f"{before}{name} ")
    return found


# -- links -----------------------------------------------------------------------------------------


def links_of(path: Path) -> list[str]:
    """Return the targets of links and pictures of a page, code left out."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors_of(text: str) -> set[str]:
    """Return the anchors of a page's headings, as Python-Markdown and GitHub make them."""
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", heading).strip().lower()
        anchors.add(re.sub(r"[\s-]+", "-", plain))
    # What mkdocstrings documents has its name as anchor.
    return anchors | set(re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE))
