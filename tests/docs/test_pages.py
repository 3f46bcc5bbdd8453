"""Every command, line of Python and link in README, docs and examples works as it stands."""

import re
import runpy
import sys

import fenced
import pytest
import tables

from svuprobe.tasks import TABLE

DOCS, EXAMPLES = fenced.ROOT / "docs", fenced.ROOT / "examples"
# In the order in which a reader takes them: later pages use what earlier ones made.
PAGES = (
    fenced.ROOT / "README.md",
    DOCS / "quickstart.md",
    DOCS / "comparing.md",
    DOCS / "exports.md",
    DOCS / "files.md",
    DOCS / "own-data.md",
    DOCS / "protocols.md",
    DOCS / "extraction.md",
    DOCS / "tasks.md",
    DOCS / "python.md",
    DOCS / "finetuning.md",
    DOCS / "pretraining.md",
    DOCS / "cluster.md",
    DOCS / "stores.md",
    DOCS / "scale.md",
)
# A page that only has what is made when the site is built, or prose.
PROSE = (
    "index.md", "concepts.md", "models.md", "statistics.md", "command-line.md", "questions.md",
    "others.md", "contributing.md", "changes.md",
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_says_to_run_runs(page, desk, monkeypatch):
    monkeypatch.chdir(desk)
    names = {}
    blocks = [block for block in fenced.blocks_of(page) if block.language not in fenced.SILENT]
    assert blocks, "nothing to run: the page belongs to PROSE"
    for block in blocks:
        fenced.run(block, names)  # raises AssertionError with the block's place


def run(monkeypatch, name, *words):
    """Run a script in this process, as ``python examples/NAME WORDS`` does."""
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_the_examples_find_a_layer_and_draw_a_figure(desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    run(monkeypatch, "which_layer.py")
    said = capsys.readouterr().out
    assert said.count("95 %:") == 3
    assert said.count("best layer") == 2  # a spectrogram has one layer: nothing to choose
    assert " less " in said
    run(monkeypatch, "paper_figure.py", "starter-pitch", "figure.pdf")
    assert (desk / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_each_script_is_in_the_list_and_tested(script):
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert f"`{script.name}`" in listed
    assert f'"{script.name}"' in (fenced.ROOT / "tests/docs/test_pages.py").read_text()


def test_every_page_is_run_or_has_nothing_to_run():
    assert {path.name for path in DOCS.glob("*.md")} == {
        *(page.name for page in PAGES if page.parent == DOCS),
        *PROSE,
    }
    for name in PROSE:
        assert not fenced.blocks_of(DOCS / name), name


EVERY = [fenced.ROOT / "README.md", fenced.ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", EVERY, ids=lambda page: page.stem)
def test_commands_and_options_in_the_text_are_there(page):
    for span in fenced.spans_of(page):
        fenced.check_span(page.name, span)


@pytest.mark.parametrize("page", EVERY, ids=lambda page: page.stem)
def test_what_a_page_links_to_is_there(page):
    for link in fenced.links_of(page):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", target):
            assert target.startswith("https://"), link
            continue
        path = page.parent / target if target else page
        assert path.exists(), link
        if anchor:
            assert anchor in fenced.anchors_of(whole(path)), link


def whole(path):
    """The text of a page with the file of the repository that it shows."""
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"<!-- file: (\S+) -->", text):
        text += (fenced.ROOT / name).read_text(encoding="utf-8")
    return text


def test_every_generated_part_is_on_a_page_and_can_be_made():
    wanted = []
    for path in sorted(DOCS.glob("*.md")):
        wanted += re.findall(r"<!-- part: (\S+) -->", path.read_text(encoding="utf-8"))
    assert sorted(wanted) == sorted(tables.PARTS)
    for name, make in tables.PARTS.items():
        text = make()
        assert text.count("\n| ") > 3, name
        # A cell with a line break or a bar of its own would end its row.
        for rows in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows.strip().splitlines()}
            assert len(widths) == 1, (name, rows[:200])


def test_the_readme_is_short_and_what_it_shows_is_there():
    text = (fenced.ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110
    # (All tasks are on a page that is made of the table; these are those of most use.)
    cells = re.findall(r"^\| (`[^|]*) \|", text, flags=re.MULTILINE)
    named = re.findall(r"`([^`]+)`", " ".join(cells))
    assert len(named) > 10
    assert set(named) <= {*TABLE, "folder:PATH", "mine.toml"}
    # What it shows of a leaderboard is what the leaderboard says.
    board = (fenced.ROOT / "leaderboard.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d .*?) \|$", text, flags=re.MULTILINE)
    assert len(rows) >= 4
    shown = [re.sub(r" *\| *", "|", line.strip("|").strip()) for line in board.splitlines()]
    for row in rows:
        assert any(line.startswith(re.sub(r" *\| *", "|", row)) for line in shown), row


def test_the_site_has_every_page_in_its_menu():
    menu = (fenced.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in DOCS.glob("*.md"):
        assert f": {path.name}\n" in menu + "\n", path.name
