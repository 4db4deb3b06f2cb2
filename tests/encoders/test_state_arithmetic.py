"""Any sequence of add, forget, age and merge equals a rebuild from the choices that remain, to 1e-9."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor
from torch.testing import assert_close

from tacit.encoders import AdditiveEncoder, AttentionEncoder, Encoder, UserStates
from tacit.encoders.attention import AttentionConfig
from tacit.errors import StateMismatchError
from tacit.testing.samples import seeded_module

DIM, LATENT, USERS, POOL = 3, 2, 2, 3
ENCODERS: dict[str, Encoder] = {
    "additive": seeded_module(lambda: AdditiveEncoder(DIM, LATENT)),
    "attention": seeded_module(lambda: AttentionEncoder(DIM, LATENT, AttentionConfig(width=8))),
}
NOTHING = float("nan")


@dataclass(frozen=True)
class Taken:
    """One choice as a state takes it in: a row of the pool (the same row may come again), weight, time, key."""

    row: int
    weight: float
    time: float
    key: str


class StateMachine(RuleBasedStateMachine):
    """Drives states of two users beside a plain list of the choices that each still holds."""

    encoder: Encoder

    @initialize(kind=st.sampled_from(sorted(ENCODERS)), half_life=st.sampled_from([None, 40.0]), keyed=st.booleans())
    def start(self, kind: str, half_life: float | None, keyed: bool) -> None:
        self.encoder, self.half_life, self.keyed, self.counter = ENCODERS[kind], half_life, keyed, 0
        self.pool = torch.randn(
            POOL, self.encoder.evidence_dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64
        )
        if self.encoder.additive:
            self.pool[:, LATENT:].abs_()  # precisions
        self.state = self.prior()
        self.held: list[list[Taken]] = [[] for _ in range(USERS)]

    def prior(self) -> UserStates:
        return UserStates.prior(
            USERS, self.encoder.evidence_dim, additive=self.encoder.additive, fingerprint="f",
            half_life=self.half_life, keyed=self.keyed,
        )  # fmt: skip

    def fresh(self, data: st.DataObject) -> list[list[Taken]]:
        """New choices for each user, from none to three."""
        batch: list[list[Taken]] = []
        for _ in range(USERS):
            mine = []
            for _ in range(data.draw(st.integers(0, 3))):
                self.counter += 1
                timed = self.half_life is not None or data.draw(st.booleans())
                time = data.draw(st.floats(0, 200)) if timed else NOTHING
                weight = data.draw(st.sampled_from([0.25, 1.0, 2.0, 3.5]))
                mine.append(Taken(data.draw(st.integers(0, POOL - 1)), weight, time, f"{self.counter:016x}"))
            batch.append(mine)
        return batch

    def arguments(self, batch: list[list[Taken]]) -> tuple[Tensor, Tensor, Tensor, tuple[tuple[str, ...], ...] | None]:
        """Padded rows, weight, time and keys of a batch."""
        width = max(map(len, batch))
        rows = torch.full((USERS, width, self.encoder.evidence_dim), 7.0, dtype=torch.float64)
        weight, time = torch.zeros(USERS, width), torch.full((USERS, width), NOTHING, dtype=torch.float64)
        for user, mine in enumerate(batch):
            for position, choice in enumerate(mine):
                rows[user, position] = self.pool[choice.row]
                weight[user, position], time[user, position] = choice.weight, choice.time
        keys = tuple(tuple(c.key for c in mine) for mine in batch) if self.keyed else None
        return rows, weight, time, keys

    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        batch = self.fresh(data)
        self.state = self.state.add(*self.arguments(batch))
        self.held = [mine + more for mine, more in zip(self.held, batch, strict=True)]

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        gone = [
            data.draw(st.lists(st.sampled_from(mine), min_size=1, unique=True)) if mine else [] for mine in self.held
        ]
        self.state = self.state.forget(*self.arguments(gone))
        self.held = [[c for c in mine if c not in g] for mine, g in zip(self.held, gone, strict=True)]

    @rule(by=st.floats(-50, 100))
    def age(self, by: float) -> None:
        before = self.state.clock
        now = before.nan_to_num(100.0) + by
        self.state = self.state.age(now)
        assert bool((self.state.clock >= before.nan_to_num(-torch.inf)).all()), "a clock that went back"

    @rule(data=st.data(), ahead=st.floats(0, 60), mine_first=st.booleans())
    def merge(self, data: st.DataObject, ahead: float, mine_first: bool) -> None:
        batch = self.fresh(data)
        other = self.prior().add(*self.arguments(batch))
        other = other.age(other.clock + ahead)
        self.state = self.state.merge(other) if mine_first else other.merge(self.state)
        self.held = [mine + more for mine, more in zip(self.held, batch, strict=True)]

    @rule()
    def exchange_users(self) -> None:
        self.state = self.state[torch.tensor([1, 0])]
        self.held.reverse()

    @rule(user=st.integers(0, USERS - 1))
    def round_trip(self, user: int) -> None:
        one = self.state[torch.tensor([user])]
        back = UserStates.from_json(one.to_json())
        for name in ("rows", "weight", "clock"):
            assert torch.equal(getattr(back, name).nan_to_num(-1.0), getattr(one, name).nan_to_num(-1.0))
        assert (back.keys, back.additive, back.fingerprint, back.half_life) == (
            one.keys, one.additive, one.fingerprint, one.half_life
        )  # fmt: skip

    @invariant()
    def equals_a_rebuild(self) -> None:
        rebuilt = self.prior().add(*self.arguments(self.held)).age(self.state.clock)
        if self.encoder.additive:
            assert_close(self.state.rows, rebuilt.rows, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            mine = self.encoder.posterior(self.state.rows, self.state.weight)
            fresh = self.encoder.posterior(rebuilt.rows, rebuilt.weight)
        assert_close(mine.mean, fresh.mean, rtol=1e-9, atol=1e-9)
        assert_close(mine.scale, fresh.scale, rtol=1e-9, atol=1e-9)
        if self.keyed:
            assert self.state.keys is not None
            for keys, held in zip(self.state.keys, self.held, strict=True):
                assert sorted(keys) == sorted(c.key for c in held)


TestStateMachine = StateMachine.TestCase
TestStateMachine.settings = settings(max_examples=100, stateful_step_count=10, phases=(Phase.generate, Phase.shrink))


# -- what is refused ---------------------------------------------------------------------------------------------------

A, B, C = (f"{i:016x}" for i in (10, 11, 12))


def one_user(kind: str, rows: list[int], keys: list[str] | None, **settings: object) -> UserStates:
    encoder = ENCODERS[kind]
    state = UserStates.prior(1, encoder.evidence_dim, additive=encoder.additive, **{"fingerprint": "f", **settings})
    return state.add(*batch_of(kind, rows, keys))


def batch_of(kind: str, rows: list[int], keys: list[str] | None) -> tuple:
    pool = torch.eye(POOL, ENCODERS[kind].evidence_dim, dtype=torch.float64)
    time = torch.zeros(1, len(rows), dtype=torch.float64)
    return pool[rows].unsqueeze(0), torch.ones(1, len(rows)), time, None if keys is None else (tuple(keys),)


@pytest.mark.parametrize("kind", sorted(ENCODERS))
class TestRefusals:
    def test_merging_states_that_share_a_choice(self, kind: str) -> None:
        with pytest.raises(StateMismatchError, match="share 1 choices"):
            one_user(kind, [0, 1], [A, B]).merge(one_user(kind, [1, 2], [B, C]))

    @pytest.mark.parametrize("other", [{"fingerprint": "g"}, {"half_life": 5.0}])
    def test_merging_what_another_model_made(self, kind: str, other: dict) -> None:
        with pytest.raises(StateMismatchError, match="one model made both"):
            one_user(kind, [0], [A]).merge(one_user(kind, [1], [B], **other))

    def test_merging_batches_of_other_sizes(self, kind: str) -> None:
        state = one_user(kind, [0], [A])
        with pytest.raises(StateMismatchError, match="as many users"):
            state.merge(state[torch.tensor([0, 0])])

    def test_forgetting_what_is_not_there(self, kind: str) -> None:
        state = one_user(kind, [0], [A])
        with pytest.raises(StateMismatchError, match="not in this state"):
            state.forget(*batch_of(kind, [1], [B]))

    def test_forgetting_once_more_than_it_was_added(self, kind: str) -> None:
        state = one_user(kind, [0, 1], [A, B]).forget(*batch_of(kind, [0], [A]))
        with pytest.raises(StateMismatchError, match="not in this state"):
            state.forget(*batch_of(kind, [0], [A]))

    def test_an_untimed_choice_where_choices_age(self, kind: str) -> None:
        state = one_user(kind, [0], [A], half_life=5.0)
        rows, weight, _, keys = batch_of(kind, [1], [B])
        with pytest.raises(StateMismatchError, match="timestamp"):
            state.add(rows, weight, None, keys)


def test_the_same_texts_chosen_twice_are_told_apart_by_their_weight() -> None:
    rows, _, _, keys = batch_of("attention", [0, 0], [A, B])
    prior = UserStates.prior(1, rows.shape[-1], additive=False, fingerprint="f")
    state = prior.add(rows, torch.tensor([[1.0, 3.0]]), None, keys)
    left = state.forget(rows[:, 1:], torch.tensor([[3.0]]), None, ((B,),))
    assert left.weight[left.weight > 0].tolist() == [1.0]


def test_attention_notices_an_absent_choice_without_keys() -> None:
    state = one_user("attention", [0], None)
    with pytest.raises(StateMismatchError, match="not in this state"):
        state.forget(*batch_of("attention", [1], None))


def test_forgetting_all_leaves_the_prior_to_the_last_bit() -> None:
    rows = torch.randn(1, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    keys = (tuple(f"{i:016x}" for i in range(9)),)
    prior = UserStates.prior(1, 4, additive=True, fingerprint="f")
    state = prior.add(rows, torch.ones(1, 9), None, keys)
    for i in (4, 0, 8, 1, 3, 2, 7, 5, 6):
        state = state.forget(rows[:, [i]], torch.ones(1, 1), None, ((keys[0][i],),))
    assert torch.equal(state.rows, prior.rows)


def test_an_empty_batch_without_keys_does_not_cost_the_state_its_keys() -> None:
    state = UserStates.prior(1, 4, additive=True, fingerprint="f")
    state = state.add(torch.zeros(1, 0, 4, dtype=torch.float64), torch.zeros(1, 0))
    assert state.keys == ((),)


def test_a_half_life_halves() -> None:
    state = one_user("additive", [0], [A], half_life=10.0)
    assert_close(state.age(10.0).rows, state.rows / 2)
    assert_close(state.age(25.0).age(30.0).rows, state.rows / 8)
    later = batch_of("additive", [1], [B])
    added = state.add(later[0], later[1], torch.full((1, 1), 10.0, dtype=torch.float64), later[3])
    assert_close(added.rows[0, 0, :2], torch.tensor([0.5, 1.0], dtype=torch.float64))


def test_times_in_padding_do_not_reach_a_state() -> None:
    """A batch pads a user's choices with whatever row stands next, and another user's times may be far off."""
    rows = torch.ones(2, 2, 4, dtype=torch.float64)
    weight = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    time = torch.tensor([[0.0, 1e9], [1e9, 1e9]], dtype=torch.float64)
    state = UserStates.prior(2, 4, additive=True, fingerprint="f", half_life=60.0).add(rows, weight, time)
    assert_close(state.rows[:, 0], torch.tensor([[1.0], [2.0]], dtype=torch.float64).expand(2, 4))
    assert state.clock.tolist() == [0.0, 1e9]


@pytest.mark.parametrize(("users", "others"), [(1, 3), (3, 1)])
def test_choices_of_more_or_fewer_users_than_states_are_refused(users: int, others: int) -> None:
    state = UserStates.prior(users, 4, additive=True, fingerprint="f")
    rows, weight = torch.ones(others, 2, 4, dtype=torch.float64), torch.ones(others, 2)
    for act in (state.add, state.forget):
        with pytest.raises(StateMismatchError, match=f"choices of {others} users for the states of {users}; give one"):
            act(rows, weight)
