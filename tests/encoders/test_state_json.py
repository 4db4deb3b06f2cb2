"""A profile: one user as JSON, small, exact, and refused when anything about it was changed."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tacit.encoders import UserStates
from tacit.errors import ModelFormatError, StateMismatchError


def profile(latent: int = 16, choices: int = 20, *, additive: bool = True, half_life: float | None = 3600.0) -> str:
    g = torch.Generator().manual_seed(0)
    evidence = torch.randn(1, choices, 2 * latent, dtype=torch.float64, generator=g) * 100 / 3
    keys = (tuple(f"{i * 0x9E3779B97F4A7C15 % 2**64:016x}" for i in range(choices)),)
    time = 1.7e9 + torch.rand(1, choices, dtype=torch.float64, generator=g)
    state = UserStates.prior(1, 2 * latent, additive=additive, fingerprint="0123456789abcdef", half_life=half_life)
    return state.add(evidence, torch.ones(1, choices), time, keys).to_json()


def test_a_profile_of_twenty_choices_is_under_a_kilobyte() -> None:
    assert len(profile().encode()) < 1000


@pytest.mark.parametrize("additive", [True, False])
@pytest.mark.parametrize("half_life", [None, 3600.0])
def test_reading_and_writing_again_gives_the_same_text(additive: bool, half_life: float | None) -> None:
    text = profile(additive=additive, half_life=half_life)
    assert UserStates.from_json(text).to_json() == text


def test_a_state_of_no_choices_survives() -> None:
    for additive in (True, False):
        state = UserStates.prior(1, 4, additive=additive, fingerprint="f")
        back = UserStates.from_json(state.to_json())
        assert torch.equal(back.rows, state.rows)
        assert back.clock.isnan().all()


def test_several_users_are_not_one_profile() -> None:
    with pytest.raises(StateMismatchError, match="these states hold 2"):
        UserStates.prior(2, 4, additive=True, fingerprint="f").to_json()


def test_every_truncation_is_refused() -> None:
    text = profile(latent=2, choices=2)
    for cut in range(len(text)):
        with pytest.raises(ModelFormatError):
            UserStates.from_json(text[:cut])


def numbers(*values: float) -> str:
    import struct

    return base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()


def change(**new: Any) -> Callable[[dict], None]:
    return lambda raw: raw.update(new)


ALTERATIONS: dict[str, Callable[[dict], object]] = {
    "schema of another version": change(schema=99),
    "schema as text": change(schema="1"),
    "no schema": lambda raw: raw.pop("schema"),
    "extra key": change(admin=True),
    "missing evidence": lambda raw: raw.pop("evidence"),
    "missing choices": lambda raw: raw.pop("choices"),
    "evidence not base64": change(evidence="%%%"),
    "evidence of no text": change(evidence=5),
    "evidence cut": lambda raw: raw.update(evidence=raw["evidence"][:8]),
    "evidence too long": change(evidence=numbers(1, 2, 3, 4, 5)),
    "evidence NaN": change(evidence=numbers(1, float("nan"), 3, 4)),
    "evidence infinite": change(evidence=numbers(1, float("inf"), 3, 4)),
    "weight NaN": change(weight=numbers(float("nan"))),
    "weight negative": change(weight=numbers(-1)),
    "a sum that is weighted": change(weight=numbers(2)),
    "weight of two rows": change(weight=numbers(1, 1)),
    "a sum of two rows": change(shape=[2, 2], weight=numbers(1, 1)),
    "shape too large": change(shape=[1, 5]),
    "shape negative": change(shape=[-1, -4]),
    "shape infinite": change(shape=[1, float("inf")]),
    "shape of fractions": change(shape=[1.5, 4]),
    "shape of three": change(shape=[1, 2, 2]),
    "shape null": change(shape=None),
    "kind unknown": change(kind="mean"),
    "kind null": change(kind=None),
    "kind a list": change(kind=["sum"]),
    "clock a word": change(clock="now"),
    "clock infinite": change(clock=float("inf")),
    "clock NaN": change(clock=float("nan")),
    "half-life a word": change(half_life="long"),
    "half-life zero": change(half_life=0),
    "half-life negative": change(half_life=-5.0),
    "half-life infinite": change(half_life=float("inf")),
    "keys cut": lambda raw: raw.update(choices=raw["choices"][:-1]),
    "keys not hexadecimal": lambda raw: raw.update(choices="g" * 16),
    "keys a list": change(choices=["0"] * 16),
    "keys a number": change(choices=7),
    "encoder a number": change(encoder=7),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_alterations_are_refused_in_one_line(name: str) -> None:
    raw = json.loads(profile(latent=2, choices=2))
    ALTERATIONS[name](raw)
    with pytest.raises(ModelFormatError) as caught:
        UserStates.from_json(json.dumps(raw))
    assert "\n" not in str(caught.value)
    assert "tacit infer" in str(caught.value)


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"sum"', "{}", "{" * 5, "[" * 100_000, "NaN"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ModelFormatError):
        UserStates.from_json(text)
