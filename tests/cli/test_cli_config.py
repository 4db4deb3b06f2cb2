"""--config, --set, --print-config and --out: what they accept, and the line with which they refuse."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from tacit.cli._config import config_result, read_config
from tacit.cli._paths import prepare_out
from tacit.errors import ConfigError


class Optimiser(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    rate: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)


class Training(BaseModel):
    model_config = ConfigDict(frozen=True)  # would ignore unknown keys by itself
    epochs: int = 3
    encoder: str = Field(default="additive", pattern="additive|attention")
    optimiser: Optimiser = Optimiser()
    seed: int = 0


def test_defaults_file_settings_and_flags_win_in_that_order(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("epochs = 5\nseed = 1\n[optimiser]\nrate = 0.1\nbetas = [0.5, 0.6]\n")
    config = read_config(Training, file, ["optimiser.rate=0.2", "encoder=attention", "seed=2"], seed=3)
    assert config == Training(epochs=5, encoder="attention", optimiser=Optimiser(rate=0.2, betas=(0.5, 0.6)), seed=3)


def test_a_flag_not_given_changes_nothing() -> None:
    assert read_config(Training, None, ["seed=2"], seed=None).seed == 2


@given(
    st.builds(
        Training,
        epochs=st.integers(),
        encoder=st.sampled_from(["additive", "attention"]),
        optimiser=st.builds(Optimiser, rate=st.floats(min_value=1e-9, allow_infinity=False)),
        seed=st.integers(0, 2**32 - 1),
    )
)
def test_what_print_config_prints_is_read_back_the_same(config: Training) -> None:
    result = config_result(config)
    assert json.loads(str(result.view[0])) == result.data
    settings = [f"{key}={json.dumps(value)}" for key, value in result.data.items()]
    assert read_config(Training, None, settings) == config


def test_a_printed_config_is_a_valid_config_file(tmp_path: Path) -> None:
    config = Training(epochs=9, optimiser=Optimiser(rate=0.5))
    (tmp_path / "c.json").write_text(str(config_result(config).view[0]))
    assert read_config(Training, tmp_path / "c.json") == config


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("epoch=1", "--set epoch=1: unknown setting epoch; did you mean epochs?"),
        ("zzz=1", "--set zzz=1: unknown setting zzz; known: epochs, encoder, optimiser, seed"),
        ("optimiser.rat=1", "unknown setting optimiser.rat; did you mean optimiser.rate?"),
        ("epochs", "--set epochs: expected KEY=VALUE"),
        ("=3", "--set =3: expected KEY=VALUE"),
        ("optimiser.=3", "expected KEY=VALUE"),
        ("epochs=many", 'settings: epochs = "many": should be a valid integer'),
        ("epochs=1.5", "epochs = 1.5"),
        ("optimiser.rate=0", "settings: optimiser.rate = 0: should be greater than 0"),
        ("optimiser.rate=nan", "optimiser.rate"),
        ("optimiser=3", "optimiser = 3"),
        ("epochs.x=3", "epochs = "),
        ("encoder=gru", "encoder = \"gru\": String should match pattern 'additive|attention'"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(setting: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(Training, None, [setting])
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("c.toml", b"epochs = \n", "is not valid TOML"),
        ("c.json", b'{"epochs": 3', "is not valid JSON"),
        ("c.json", b"[1]", "expected an object of settings, found list"),
        ("c.json", b"\xff\xfe", "is not valid JSON"),
        ("c.yaml", b"epochs: 3", "expected a .toml or .json file"),
        ("c.toml", b"[optimizer]\nrate = 1", "unknown setting optimizer; did you mean optimiser?"),
        ("c.toml", b"[optimiser]\nlate = 1", "unknown setting optimiser.late; did you mean optimiser.rate?"),
    ],
)
def test_a_bad_file_is_named_with_the_cause(tmp_path: Path, name: str, content: bytes, line: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_config(Training, tmp_path / name)
    assert line in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_out_may_be_absent_empty_or_our_own_and_is_not_created(tmp_path: Path) -> None:
    absent, empty, own = tmp_path / "a" / "b", tmp_path / "empty", tmp_path / "own"
    empty.mkdir()
    own.mkdir()
    (own / "results.json").touch()
    for path in (absent, empty, own):
        assert prepare_out(path, own="results.json", overwrite=True) == path
    assert not absent.parent.exists()


def test_out_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"is not empty and holds no results\.json"):
        prepare_out(tmp_path, own="results.json", overwrite=True)


def test_out_that_is_or_lies_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        prepare_out(tmp_path / "file", own="results.json", overwrite=True)
    with pytest.raises(ConfigError, match="lies under"):
        prepare_out(tmp_path / "file" / "x" / "y", own="results.json", overwrite=True)


def test_out_without_permission_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(ConfigError, match="no permission in"):
        prepare_out(tmp_path / "x", own="results.json", overwrite=True)
