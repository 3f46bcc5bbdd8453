"""Options: every number is bounded where it is declared, every device is one that is here; the API
checks alike.
"""

import math
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from svuprobe import _machine, api, cli
from svuprobe._errors import OptionError, UserError
from svuprobe.probe.finetune import protocol as ft_protocol
from svuprobe.probe.protocol import Protocol

ABSURD = ("-1", "0", "nan", "inf", "-inf", "1e400", str(2**63), "", "a word", "9" * 5000, "²")


def commands(group=cli.main, path=()):
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


NUMBERS = [
    pytest.param(words, option, id=f"{' '.join(words)} {option.opts[0]}")
    for words, command in commands()
    for option in command.params
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
]


@pytest.mark.parametrize(("words", "option"), NUMBERS)
def test_every_number_is_bounded_at_both_ends(words, option):
    low, high = option.type.min, option.type.max
    assert low is not None
    assert high is not None
    assert math.isfinite(low)
    assert low < high < 2**63


def required(command, folder):
    """Words for what a command can't be called without: all names of things that are not there."""
    words = []
    for parameter in command.params:
        if not parameter.required:
            continue
        value = {
            "names": "technique",
            "task_names": "technique",
            "model_names": "logmel",
            "name": "logmell",  # a usage error: trying a model takes seconds
            "run": str(folder / "empty.json"),
            "kind": "scores",
            "suite": str(folder / "none.toml"),
        }.get(parameter.name, str(folder / "none"))
        words += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
    return words


@pytest.mark.parametrize(("words", "option"), NUMBERS)
def test_an_absurd_number_is_one_line_and_no_traceback(words, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.json").write_text("{}")
    command = dict(commands())[words]
    for value in ABSURD:
        if words == ("data", "synth") and value == "0" and option.name == "seed":
            continue  # it is right, and takes a minute
        done = CliRunner().invoke(
            cli.main, [*words, *required(command, tmp_path), option.opts[0], value]
        )
        assert isinstance(done.exception, SystemExit | None), (value, done.exception)
        assert done.exit_code in (0, 1, 2), value
        if done.exit_code:
            assert done.output.splitlines()[-1].startswith("Error: "), value
            assert done.output.count("Error: ") == 1
        if value != "0":
            assert done.exit_code == 2, value


@pytest.mark.parametrize(
    "device", ["", "CPU", "gpu", "cuda:99", "cuda:-1", "meta", "xla", "cpu:1", "\x1b[31m"]
)
def test_a_device_that_is_not_here_is_said_with_those_that_are(device, tmp_path):
    with pytest.raises(OptionError, match="there is cpu"):
        _machine.checked_device(device)
    for words, command in commands():
        if any(p.name == "device" for p in command.params):
            asked = [*words, *required(command, tmp_path), "--device", device]
            (tmp_path / "empty.json").write_text("{}")
            done = CliRunner().invoke(cli.main, asked)
            assert done.exit_code == 2
            assert "\x1b" not in done.output
    for options in (api.RunOptions, api.FinetuneOptions):
        with pytest.raises(OptionError, match="there is cpu"):
            options(device=device)


def test_the_device_of_the_cpu_is_checked_without_torch():
    code = (
        "import sys; from svuprobe import _machine; _machine.checked_device('cpu'); "
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 2**63, "1", 1.5, True])
def test_the_api_checks_numbers_as_the_command_line_does(value, tmp_path):
    for call in (
        lambda: api.RunOptions(jobs=value),
        lambda: api.RunOptions(memory=value),
        lambda: api.RunOptions(batch_s="1" if value == 1.5 else -1.0 if value == 2**63 else value),
        lambda: api.FinetuneOptions(jobs=value),
        lambda: api.FinetuneOptions(accumulate=value),
        lambda: api.FinetuneOptions(checkpoint_steps=value),
        lambda: api.synth(["technique"], tmp_path / "d", clips=3, seed=value),
        lambda: api.predict(tmp_path / "none.json", ["a.wav"], seed=value),
        lambda: Protocol(seeds=value),
    ):
        with pytest.raises(UserError):
            call()
    for dtype in ("float16", "", None):
        with pytest.raises(OptionError):
            api.RunOptions(dtype=dtype)


@pytest.mark.parametrize("field", ft_protocol.RANGES)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, 2**63])
def test_a_protocol_of_fine_tuning_is_of_numbers_in_their_range(field, value):
    with pytest.raises(UserError, match=field):
        ft_protocol.FinetuneProtocol(**{field: value})
