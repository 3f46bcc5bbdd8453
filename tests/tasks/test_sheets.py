"""Tables as spreadsheets of any locale write them are read rightly or refused in one line, never
misread.
"""

from __future__ import annotations

import codecs
import itertools

import pytest
from test_own import found, refused, toml, write

from svuprobe.tasks.kinds.beats import BEATS as BEAT_KIND
from svuprobe.tasks.kinds.notes import NOTES as NOTE_KIND
from svuprobe.tasks.types import SPLITS, TaskError

ROWS = [
    ("a.wav", "0.25", "train", "1.5"),
    ("b.wav", "-2.5", "valid", "0"),
    ("c.wav", "1", "test", "12.345"),
]
ENDS = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}
CODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}


def regression(
    separator, end="\n", point=".", quoted=False, header=("path", "target", "split", "start")
) -> str:
    """A table of a regression in some locale."""
    lines = []
    for number, row in enumerate([header, *ROWS]):
        cells = [
            c if number == 0 or column in (0, 2) else c.replace(".", point)
            for column, c in enumerate(row)
        ]
        lines.append(separator.join(f'"{cell}"' if quoted else cell for cell in cells) + end)
    return "".join(lines)


def check(folder, content: bytes) -> None:
    clips = found(write(folder, toml("regression"), content))[1]
    assert [(c.id.split("#")[0], c.target, c.split, c.start) for c in clips] == [
        ("a.wav", (0.25,), "train", 1.5),
        ("b.wav", (-2.5,), "valid", 0.0),
        ("c.wav", (1.0,), "test", 12.345),
    ]


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("end", ENDS, ids=ENDS.values())
@pytest.mark.parametrize(
    ("separator", "point"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")]
)
def test_a_table_is_read_the_same_whatever_separates_its_columns_lines_and_decimals(
    tmp_path, separator, point, end, quoted
):
    text = regression(separator, end, point, quoted)
    for coding, mark in CODINGS.items():
        check(tmp_path, mark + text.encode(coding))
        check(tmp_path, mark + f"sep={separator}{end}{text}".encode(coding))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_empty_lines_and_empty_columns_at_the_end_are_nothing(tmp_path, separator):
    lines = regression(separator).splitlines()
    for empty in ("\n\n", f"\n{separator * 3}\n{separator * 5}\n", "\n   \n"):
        check(tmp_path, ("\n".join(lines) + empty).encode())
        check(
            tmp_path,
            ("\n".join(f"{line}{separator}{separator}" for line in lines) + empty).encode(),
        )


def test_line_numbers_are_those_of_the_file(tmp_path):
    refused(
        write(tmp_path, toml(), "sep=;\r\npath;target\r\n\r\na.wav;x\r\n;y\r\n"),
        "mine.csv:5: path is empty",
    )


@pytest.mark.parametrize(
    ("csv", "parts"),
    [
        # a decimal comma that is not quoted moves everything behind it
        ("path,target,split\na.wav,0,5,train\n", [":2: 4 fields, not 3", "decimal comma"]),
        ('path,target,split\na.wav,"0,5",train\n', [":2: '0,5' has a comma", "decimal point"]),
        ('path,target,split\na.wav,"1,500",train\n', [":2: '1,500' has a comma", "thousands"]),
        ("path;target;start\na.wav;1.5;0\nb.wav;1,5;0\n", ["1,5", "1.5", "points and commas"]),
        ("path;target;start\na.wav;1;1.500,25\n", [":2: '1.500,25'", "points and commas"]),
        ("path;target;start\na.wav;1;1,500.25\n", [":2: '1,500.25'", "points and commas"]),
        (
            "path\ttarget\na.wav\t1,500\nb.wav\t2,250\n",
            [":2: '1,500'", "nothing in the file tells which"],
        ),
        ("path;target\na.wav;1,2,3\n", [":2: target '1,2,3' is not a number"]),
        ("path;target\na.wav;1'500\n", ["is not a number"]),
        ("path;target\na.wav;1 500\n", ["is not a number"]),
        ("path;target\na.wav;1_500\n", ["is not a number"]),
        ("path;target\na.wav;\u0661\u0662\n", ["is not a number"]),
        ("path,target\na.wav,1e400\n", ["target 1e400 is not from -1e+15 to 1e+15"]),
        ("path,target,start\na.wav,1,1e308\n", ["start 1e308 s is not from 0 to 1e+06 s"]),
        ("path,target\na.wav,#DIV/0!\n", [":2: '#DIV/0!'", "a cell that failed"]),
        ("path,target\na.wav,#NV\n", ["a cell that failed"]),
        ("path;target\na.wav,1\n", [":2: 1 fields, not 2"]),
        (
            b"path,target\n\xe9.wav,1\n",
            [":2: byte 0xe9 is not UTF-8", "Windows-1252", "save it as CSV in UTF-8"],
        ),
        (b"path,target\r\ra.wav,1\r\x80,1\r", [":4: byte 0x80"]),
        (
            "path,target\na.wav,1\n".encode("utf-16-le"),
            [":1: null characters", "UTF-16 without its mark"],
        ),
        (
            codecs.BOM_UTF16_LE + "path".encode("utf-16-le") + b"x",
            ["begins as UTF-16 but is not text of it"],
        ),
        (b"PK\x03\x04\x14\x00\x06\x00", ["XLSX or ODS workbook", "save it as CSV in UTF-8"]),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ["XLS workbook"]),
    ],
)
def test_what_can_be_read_in_two_ways_or_in_none_is_refused_with_what_to_do(tmp_path, csv, parts):
    refused(write(tmp_path, toml("regression"), csv), str(tmp_path / "mine.csv"), *parts)


def test_several_values_of_a_cell_have_decimal_commas_too(tmp_path):
    csv = "path;label;split\na.wav;0,5|1,25;train\nb.wav;1|2;valid\nc.wav;0|0;test\n"
    assert found(write(tmp_path, toml("regression"), csv))[1][0].target == (0.5, 1.25)


def test_a_label_may_hold_commas_and_umlauts(tmp_path):
    csv = 'path;target;split\na.wav;"Größe; 1,5";train\nb.wav;x, y;valid\nc.wav;x, y;test\n'
    clips = found(write(tmp_path, toml(), csv.encode("utf-8-sig")))[1]
    assert [c.target for c in clips] == ["Größe; 1,5", "x, y", "x, y"]


def test_labels_that_look_the_same_are_the_same(tmp_path):
    written = ("caf\u00e9  noir", " cafe\u0301 noir", "caf\u00e9\u00a0noir ")
    csv = "path,target,split\n" + "".join(
        f"{s}.wav,{t},{s}\n" for s, t in zip(SPLITS, written, strict=True)
    )
    for kind, target in (("multiclass", "caf\u00e9 noir"), ("multilabel", ("caf\u00e9 noir",))):
        for targets in ("", 'targets = ["cafe\u0301 noir"]'):
            task, clips = found(write(tmp_path, toml(kind, targets), csv))
            assert {c.target for c in clips} == {target}
            assert task.labels in (None, ("caf\u00e9 noir",))


# -- notes and beats -------------------------------------------------------------------------------

NOTES = ((0.5, 1.25, 60.0), (1.5, 12.345, 61.5))


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("end", ENDS, ids=ENDS.values())
@pytest.mark.parametrize(
    ("separator", "point"),
    [(",", "."), *itertools.product((";", "\t", " ", "; "), (".", ",")), (", ", ".")],
)
def test_notes_and_beats_are_read_the_same_in_every_locale(tmp_path, separator, point, end, quoted):
    shown = f'"{"{}"}"' if quoted else "{}"
    lines = [
        separator.join(shown.format(str(v).replace(".", point)) for v in note) + end
        for note in NOTES
    ]
    for coding, mark in CODINGS.items():
        (tmp_path / "n").write_bytes(mark + "".join(lines).encode(coding))
        assert NOTE_KIND.read(tmp_path / "n") == NOTES
        assert BEAT_KIND.read(tmp_path / "n") == (0.5, 1.5)


@pytest.mark.parametrize(
    ("read", "body", "parts"),
    [
        (
            BEAT_KIND.read,
            "0,5\n1,0\n",
            [":1: '0,5' is 0.5 s with a decimal comma, or has several columns"],
        ),
        (BEAT_KIND.read, "0,5,1\n1,0,2\n", [":1: '0,5,1'"]),
        (
            BEAT_KIND.read,
            "12,345\t1\n13,456\t2\n",
            [":1: '12,345'", "nothing in the file tells which"],
        ),
        (BEAT_KIND.read, "0,5\t1\n0.7\t1\n", ["'0,5'", "'0.7'", "points and commas"]),
        (BEAT_KIND.read, "1.000,5;1\n", ["'1.000,5'"]),
        (BEAT_KIND.read, "1_0\n", ["beat '1_0' is not a number"]),
        (BEAT_KIND.read, "1e308\n", ["beat 1e308 s is not from 0 to 1e+06 s"]),
        (NOTE_KIND.read, "0,5,1,0,60\n", [":1: 5 fields", "a decimal comma needs columns"]),
        (NOTE_KIND.read, "0,5,1,60\n", [":1: 4 fields"]),
        (
            NOTE_KIND.read,
            "0.5,1,440\n",
            ["MIDI number (69 is 440 Hz) of a note 440 is not from 0 to 127"],
        ),
        (NOTE_KIND.read, "0.5,1e999,60\n", ["note 1e999 s is not from 0"]),
        (
            NOTE_KIND.read,
            "onset_ms,offset_ms,midi\n500,700,60\n",
            [":1: note 'onset_ms' is not a number"],
        ),
    ],
)
def test_a_number_of_notes_or_beats_is_never_split_or_guessed(tmp_path, read, body, parts):
    path = tmp_path / "n"
    path.write_text(body, encoding="utf-8")
    with pytest.raises(TaskError) as error:
        read(path)
    for part in (f"{path}:", *parts):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["notes", "beats"])
def test_a_file_that_many_clips_name_is_read_once(tmp_path, kind, monkeypatch):
    (tmp_path / "t.txt").write_text("0.5 1.5 60\n2.5 3.5 60\n", encoding="utf-8")
    rows = "".join(f"a.wav,t.txt,{n},{n + 1},train\n" for n in range(50))
    csv = f"path,target,start,end,split\n{rows}b.wav,t.txt,0,9,valid\nc.wav,t.txt,0,9,test\n"
    opened = []
    real = type(tmp_path).read_bytes
    monkeypatch.setattr(
        type(tmp_path), "read_bytes", lambda path: opened.append(path.name) or real(path)
    )
    clips = found(write(tmp_path, toml(kind), csv))[1]
    assert opened == ["mine.toml", "mine.csv", "t.txt"]
    assert [bool(c.target) for c in clips[:4]] == [True, False, True, False]
