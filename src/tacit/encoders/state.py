"""What is kept of users: their evidence, with add, forget, age, merge and a JSON round trip.

Exact means: after any sequence of operations the state equals one rebuilt from the remaining choices, at the same
clock, to 1e-9. So all arithmetic is float64, and ageing is lazy: a choice made at t_j weighs 2^(-(t - t_j) / half_life)
at clock t.
"""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit.errors import ModelFormatError, StateMismatchError

__all__ = ["SCHEMA", "UserStates"]

SCHEMA = 1
Keys = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class UserStates:
    """States of a batch of users, all made by one encoder. Opaque to callers; every operation returns new states.

    Shapes:
        rows: Float64[users rows evidence]; an additive encoder's states hold one row, the weighted sum.
        weight: Float64[users rows] at the users' clocks; 0 = empty row.
        clock: Float64[users] seconds, NaN while no timed choice has been seen.
        keys: per user, the keys of the choices inside; None where choices had none.
        fingerprint: of the encoder, so that another model's state is refused.
        half_life: seconds after which a choice counts half, or None for no ageing.
    """

    rows: Tensor
    weight: Tensor
    clock: Tensor
    keys: Keys | None
    additive: bool
    fingerprint: str
    half_life: float | None = None

    @classmethod
    def prior(
        cls,
        users: int,
        evidence: int,
        *,
        additive: bool,
        fingerprint: str,
        half_life: float | None = None,
        keyed: bool = True,
    ) -> "UserStates":
        """Users of whom nothing is known."""
        count = 1 if additive else 0
        return cls(
            torch.zeros(users, count, evidence, dtype=torch.float64),
            torch.ones(users, count, dtype=torch.float64),
            torch.full((users,), float("nan"), dtype=torch.float64),
            ((),) * users if keyed else None,
            additive,
            fingerprint,
            half_life,
        )

    def __len__(self) -> int:
        return self.rows.shape[0]

    def __getitem__(self, users: Tensor) -> "UserStates":
        keys = None if self.keys is None else tuple(self.keys[u] for u in users.tolist())
        return replace(self, rows=self.rows[users], weight=self.weight[users], clock=self.clock[users], keys=keys)

    def add(self, rows: Tensor, weight: Tensor, time: Tensor | None = None, keys: Keys | None = None) -> "UserStates":
        """Take in evidence rows Float64[users choices evidence] with weight and time Float64[users choices]."""
        state, weight = self._at_common_clock(weight, time)
        merged = _joined(state.keys, _keys_of(weight, keys))
        if self.additive:
            total = state.rows + torch.einsum("uce,uc->ue", rows, weight).unsqueeze(1)
            return replace(state, rows=total, keys=merged)
        return replace(
            state, rows=torch.cat([state.rows, rows], 1), weight=torch.cat([state.weight, weight], 1), keys=merged
        )

    def forget(
        self, rows: Tensor, weight: Tensor, time: Tensor | None = None, keys: Keys | None = None
    ) -> "UserStates":
        """Take evidence out again, as if it had never come; clocks stay where they are.

        Raises:
            StateMismatchError: a choice to forget is not in the state (a sum without keys cannot tell).
        """
        state, weight = self._at_common_clock(weight, time)
        left = _without(state.keys, _keys_of(weight, keys))
        if self.additive:
            total = state.rows - torch.einsum("uce,uc->ue", rows, weight).unsqueeze(1)
            if left is not None:  # a user with no choices left is the prior, to the last bit
                total[torch.tensor([not ks for ks in left], dtype=torch.bool)] = 0
            return replace(state, rows=total, keys=left)
        remaining = state.weight.clone()
        for user, choice in (weight > 0).nonzero().tolist():
            distance = (state.rows[user] - rows[user, choice]).abs().amax(-1)
            distance[remaining[user] <= 0] = torch.inf
            if not len(distance) or distance.min() > 1e-6:
                raise StateMismatchError(
                    "a choice to forget is not in this state; forget only choices it was made from"
                )
            # The same texts may have been chosen at several times: age, and so weight, tells them apart.
            other_weight = (remaining[user] - weight[user, choice]).abs().masked_fill(distance > 1e-6, torch.inf)
            remaining[user, other_weight.argmin()] = 0
        keep = (remaining > 0).any(0)
        return replace(state, rows=state.rows[:, keep], weight=remaining[:, keep], keys=left)

    def age(self, now: float | Tensor) -> "UserStates":
        """Move the clocks forward to `now` (seconds, or Float64[users]); without a half-life nothing fades."""
        moved = torch.as_tensor(now, dtype=torch.float64).expand(len(self))
        moved = torch.where(self.clock.isnan() | (moved > self.clock), moved, self.clock)
        if self.half_life is None:
            return replace(self, clock=moved)
        factor = torch.exp2(-(moved - self.clock).nan_to_num(0.0) / self.half_life)
        if self.additive:
            return replace(self, rows=self.rows * factor[:, None, None], clock=moved)
        return replace(self, weight=self.weight * factor[:, None], clock=moved)

    def merge(self, other: "UserStates") -> "UserStates":
        """The same users seen on two devices: evidence of both, which must not overlap.

        Raises:
            StateMismatchError: another encoder, another half-life, another number of users, or a shared choice.
        """
        if self.fingerprint != other.fingerprint or self.half_life != other.half_life or len(self) != len(other):
            raise StateMismatchError(
                "states can be merged only if one model made both, for as many users, with one half-life"
            )
        if self.keys is not None and other.keys is not None:
            shared = sum(len(set(a) & set(b)) for a, b in zip(self.keys, other.keys, strict=True))
            if shared:
                raise StateMismatchError(
                    f"the states share {shared} choices, which would count twice; forget them in one first"
                )
        merged = _joined(self.keys, other.keys)
        clock = torch.fmax(self.clock, other.clock)
        mine, theirs = self._aged_where_timed(clock), other._aged_where_timed(clock)
        if self.additive:
            return replace(mine, rows=mine.rows + theirs.rows, keys=merged)
        rows, weight = torch.cat([mine.rows, theirs.rows], 1), torch.cat([mine.weight, theirs.weight], 1)
        return replace(mine, rows=rows, weight=weight, keys=merged)

    def to_json(self) -> str:
        """One user as a JSON text; floats survive bit for bit.

        Under a kilobyte for forty choices of an additive encoder of the default size; each choice's key adds 16 bytes.
        """
        if len(self) != 1:
            raise StateMismatchError(
                f"a profile holds one user, these states hold {len(self)}: pick one with states[tensor([i])]"
            )
        clock = self.clock.item()
        return json.dumps(
            {
                "schema": SCHEMA,
                "encoder": self.fingerprint,
                "kind": "sum" if self.additive else "rows",
                "shape": list(self.rows.shape[1:]),
                "evidence": _pack(self.rows),
                "weight": _pack(self.weight),
                "clock": None if np.isnan(clock) else clock,
                "half_life": self.half_life,
                "choices": None if self.keys is None else "".join(self.keys[0]),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "UserStates":
        """Read what `to_json` wrote.

        Raises:
            ModelFormatError: truncated, altered, of another schema, or not finite.
        """
        fields = {"schema", "encoder", "kind", "shape", "evidence", "weight", "clock", "half_life", "choices"}
        try:
            raw: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelFormatError(
                f"the profile is not complete JSON ({error}); make it again with `tacit infer`"
            ) from None
        if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
            found = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
            raise ModelFormatError(
                f"profile schema {found!r} where this version reads {SCHEMA}; make it again with `tacit infer`"
            )
        if set(raw) != fields:
            odd = sorted(set(raw) ^ fields)
            raise ModelFormatError(f"the profile has missing or unknown keys {odd}; make it again with `tacit infer`")
        try:
            count, evidence = raw["shape"]
            rows = _unpack(raw["evidence"], (1, count, evidence))
            weight = _unpack(raw["weight"], (1, count))
            clock, half_life = _finite(raw["clock"]), _finite(raw["half_life"])
            additive = {"sum": True, "rows": False}[raw["kind"]]
            keys = None if raw["choices"] is None else (_split_keys(raw["choices"]),)
            if not isinstance(raw["encoder"], str):
                raise TypeError("an encoder that is not named by a text")
            if half_life is not None and half_life <= 0:
                raise ValueError("a half-life that is not positive")
            if bool((weight < 0).any()) or (additive and weight.tolist() != [[1.0]]):
                raise ValueError("weights that no state of its kind has")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFormatError(f"the profile is damaged ({error}); make it again with `tacit infer`") from None
        seconds = torch.tensor([float("nan") if clock is None else clock], dtype=torch.float64)
        return cls(rows, weight, seconds, keys, additive, raw["encoder"], half_life)

    def _at_common_clock(self, weight: Tensor, time: Tensor | None) -> tuple["UserStates", Tensor]:
        """These states aged to the latest time in sight, and `weight` aged to the same clock."""
        if len(weight) != len(self):
            raise StateMismatchError(
                f"choices of {len(weight)} users for the states of {len(self)}; give one row of choices for each state"
            )
        weight = weight.to(torch.float64)
        if time is None and self.half_life is None:
            return self, weight
        unknown = torch.full_like(weight, float("nan"))
        time = unknown if time is None else torch.where(weight > 0, time, unknown)  # padding may hold anybody's times
        if self.half_life is not None and bool((time.isnan() & (weight > 0)).any()):
            raise StateMismatchError("this state ages its choices, so each choice needs a timestamp; one has none")
        latest = (
            torch.where(time.isnan(), -torch.inf, time).amax(1)
            if time.shape[1]
            else self.clock.new_full((len(self),), -torch.inf)
        )
        clock = torch.fmax(self.clock, torch.where(latest.isinf(), self.clock, latest))
        state = self._aged_where_timed(clock)
        if self.half_life is not None:
            weight = weight * torch.exp2(-(clock[:, None] - time).nan_to_num(0.0) / self.half_life)
        return state, weight

    def _aged_where_timed(self, clock: Tensor) -> "UserStates":
        return self if bool(clock.isnan().all()) else replace(self.age(clock.nan_to_num(-torch.inf)), clock=clock)


def _keys_of(weight: Tensor, keys: Keys | None) -> Keys | None:
    """The keys of a batch; a batch without a single choice needs none to be fully keyed."""
    return ((),) * len(weight) if keys is None and not bool((weight > 0).any()) else keys


def _joined(first: Keys | None, second: Keys | None) -> Keys | None:
    if first is None or second is None:
        return None
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _without(keys: Keys | None, gone: Keys | None) -> Keys | None:
    """Multiset difference, user by user; None where either side has no keys."""
    if keys is None or gone is None:
        return None
    left = []
    for have, take in zip(keys, gone, strict=True):
        remaining = list(have)
        for key in take:
            if key not in remaining:
                raise StateMismatchError(
                    f"choice {key} to forget is not in this state; forget only choices it was made from"
                )
            remaining.remove(key)
        left.append(tuple(remaining))
    return tuple(left)


def _pack(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().astype("<f8").tobytes()).decode("ascii")


def _unpack(text: str, shape: Sequence[int]) -> Tensor:
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"a shape {tuple(shape)}")
    values = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8").astype(np.float64)
    if values.size != int(np.prod(shape)):
        raise ValueError(f"{values.size} numbers where {tuple(shape)} were announced")
    if not np.isfinite(values).all():
        raise ValueError("numbers that are not finite")
    return torch.from_numpy(values.reshape(tuple(shape)))


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise ValueError("numbers that are not finite")
    return None if value is None else float(value)


def _split_keys(text: str) -> tuple[str, ...]:
    if not isinstance(text, str) or len(text) % 16 or any(c not in "0123456789abcdef" for c in text):
        raise ValueError("choice keys that are not 16 hexadecimal digits each")
    return tuple(text[i : i + 16] for i in range(0, len(text), 16))
