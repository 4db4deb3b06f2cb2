"""What every `PreferenceModel` must do: NP-BTL, every baseline, and yours."""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.hashing import step_generator
from tacit.errors import StateMismatchError
from tacit.rewards.protocol import PreferenceModel
from tacit.testing.samples import keep_first, padded, random_choices, refusal, reordered, swapped

__all__ = ["PreferenceModelConformance"]

USERS, CHOICES, ITEMS = 4, 6, 8
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


class PreferenceModelConformance:
    """The contract of `tacit.rewards.PreferenceModel` in memory; `SavedModelConformance` adds files.

    Example:
        class TestMyModel(SavedModelConformance, PreferenceModelConformance):
            def make(self, seed):
                return MyModel(torch.randn(self.dim, generator=torch.Generator().manual_seed(seed)))

    Attributes:
        dim: size of item vectors.
        personal: whether choices change what the model thinks of a user; False for a pooled model.
        ties: whether the model gives ties a probability of their own.
    """

    dim = 4
    personal = True
    ties = False

    def make(self, seed: int) -> PreferenceModel[Any]:
        """A small ready model over item vectors of size `dim`; another seed, another model. Override this."""
        raise NotImplementedError

    def _model(self) -> PreferenceModel[Any]:
        return self.make(0)

    def _choices(self, choices: int = CHOICES, *, seed: int = 0, slots: int = 2) -> ChoiceBatch:
        return random_choices(USERS, choices, self.dim, slots=slots, seed=seed, dtype=torch.float32)

    def _items(self, *shape: int, seed: int = 1) -> Tensor:
        return torch.randn(*shape, self.dim, generator=step_generator(seed, 14))

    def _beliefs(self, model: PreferenceModel[Any], state: Any) -> Tensor:
        """What a state makes of fixed items: Float[users numbers]."""
        items = self._items(ITEMS)
        return torch.cat([model.score(state, items), model.prefer(state, items, items.flip(0))], dim=1)

    # -- shapes and probabilities --------------------------------------------------------------------------------------

    def test_it_is_a_preference_model(self) -> None:
        """All names of the protocol are there."""
        model = self._model()
        assert isinstance(model, PreferenceModel)
        assert isinstance(type(model).name, str)
        assert isinstance(model.has_uncertainty, bool)

    def test_states_are_batches_of_users(self) -> None:
        """`len(state)` users; `state[Int64[chosen]]` picks some, in that order."""
        model = self._model()
        state = model.infer(self._choices())
        assert len(state) == USERS
        order = torch.tensor([2, 0])
        assert len(state[order]) == 2
        assert_close(self._beliefs(model, state[order]), self._beliefs(model, state)[order], **CLOSE)

    def test_score_of_shared_and_own_items(self) -> None:
        """Float[users items] both for Float[items dim] and Float[users items dim]."""
        model = self._model()
        state, items = model.infer(self._choices()), self._items(ITEMS)
        scores = model.score(state, items)
        assert scores.shape == (USERS, ITEMS)
        assert_close(scores, model.score(state, items.expand(USERS, ITEMS, self.dim)), **CLOSE)
        own = self._items(USERS, ITEMS, seed=2)
        assert_close(model.score(state, own)[2:3], model.score(state[torch.tensor([2])], own[2]), **CLOSE)

    def test_prefer_of_shared_and_own_pairs(self) -> None:
        """Float[users pairs] both for Float[pairs dim] and Float[users pairs dim]."""
        model = self._model()
        state, a, b = model.infer(self._choices()), self._items(ITEMS), self._items(ITEMS, seed=3)
        p = model.prefer(state, a, b)
        assert p.shape == (USERS, ITEMS)
        each = (USERS, ITEMS, self.dim)
        assert_close(p, model.prefer(state, a.expand(each), b.expand(each)), **CLOSE)

    def test_prefer_is_a_probability(self) -> None:
        """Within [0, 1] for near and far items; the two orders and the tie share the mass."""
        model = self._model()
        state = model.infer(self._choices())
        for scale in (1.0, 1000.0):
            a, b = scale * self._items(ITEMS), scale * self._items(ITEMS, seed=3)
            forward, backward = model.prefer(state, a, b), model.prefer(state, b, a)
            assert bool(((forward >= 0) & (forward <= 1)).all()), "a probability outside [0, 1], or NaN"
            tie = 1 - forward - backward
            if self.ties:
                assert bool((tie > -1e-5).all()), "the two orders alone have more than the whole mass"
            else:
                assert_close(tie, torch.zeros_like(tie), **CLOSE)
        same = model.prefer(state, self._items(ITEMS), self._items(ITEMS))
        assert bool((same < 0.5 - 1e-4).all()) if self.ties else torch.allclose(same, torch.full_like(same, 0.5))

    # -- states --------------------------------------------------------------------------------------------------------

    def test_update_equals_infer_on_all(self) -> None:
        """In one go, in two, or one by one."""
        model, first, second = self._model(), self._choices(2), self._choices(3, seed=5)
        whole = model.infer(first.join(second))
        in_two = model.update(model.infer(first), second)
        one_by_one = model.infer(first.first(0))
        for position in range(5):
            one_by_one = model.update(one_by_one, reordered(first.join(second), [position]))
        for state in (in_two, one_by_one):
            assert_close(self._beliefs(model, state), self._beliefs(model, whole), **CLOSE)

    def test_forgotten_is_never_seen(self) -> None:
        """Forgetting some leaves the others; forgetting all leaves the prior."""
        model, kept, gone = self._model(), self._choices(2), self._choices(3, seed=5)
        state = model.infer(gone.join(kept))
        self._same(model, model.forget(state, gone), model.infer(kept))
        self._same(model, model.forget(state, kept.join(gone)), model.infer(kept.first(0)))

    def test_no_choices_is_the_prior(self) -> None:
        """With k = 0 it is defined, the same for everybody, and the same by an empty batch as by padding alone."""
        model, choices = self._model(), self._choices()
        empty = model.infer(ChoiceBatch.empty(USERS, self.dim))
        assert len(empty) == USERS
        beliefs = self._beliefs(model, empty)
        assert bool(beliefs.isfinite().all())
        assert_close(beliefs, beliefs[:1].expand_as(beliefs), **CLOSE)
        self._same(model, empty, model.infer(keep_first(choices, [0] * USERS)))

    def test_order_of_choices_is_irrelevant(self) -> None:
        """A user is a set of choices."""
        model, choices = self._model(), self._choices()
        self._same(model, model.infer(choices), model.infer(reordered(choices, [5, 2, 0, 4, 3, 1])))

    def test_padding_changes_nothing(self) -> None:
        """Neither choices of weight 0 nor slots of rank -1."""
        model, choices = self._model(), self._choices(slots=3)
        self._same(model, model.infer(choices), model.infer(padded(choices, extra_choices=3, extra_slots=1)))

    def test_every_user_has_a_k_of_their_own(self) -> None:
        """A batch is its users one by one, each with as many choices as they bring."""
        model, choices, counts = self._model(), self._choices(), [0, 1, CHOICES, 3]
        together = self._beliefs(model, model.infer(keep_first(choices, counts)))
        for user, count in enumerate(counts):
            alone = model.infer(choices.of_users(torch.tensor([user])).first(count))
            assert_close(self._beliefs(model, alone), together[user : user + 1], **CLOSE)

    def test_choices_move_beliefs_only_of_a_personal_model(self) -> None:
        """A personal model hears who won; a pooled one hears nothing."""
        model, choices = self._model(), self._choices()
        prior, told, opposite = (
            self._beliefs(model, model.infer(c)) for c in (choices.first(0), choices, swapped(choices))
        )
        if self.personal:
            assert (told - prior).abs().amax(-1).min() > 1e-4, "choices do not move the model"
            assert (told - opposite).abs().amax(-1).min() > 1e-4, "the model does not see who won"
        else:
            assert_close(told, prior, **CLOSE)

    def test_a_state_of_another_model_is_refused(self) -> None:
        """In one line, by everything that takes a state."""
        if not self.personal:
            return
        model, other, choices, items = self._model(), self.make(1), self._choices(), self._items(ITEMS)
        foreign = other.infer(choices)
        uses: list[Callable[[], object]] = [
            lambda: model.score(foreign, items),
            lambda: model.prefer(foreign, items, items),
            lambda: model.update(foreign, choices),
            lambda: model.forget(foreign, choices),
            lambda: model.explain(foreign, items),
        ]
        for use in uses:
            message = refusal(use, StateMismatchError)
            assert message, "a state that another model made was taken"
            assert "\n" not in message

    # -- explanations --------------------------------------------------------------------------------------------------

    def test_explain_ranks_items_by_how_far_they_moved(self) -> None:
        """One report per user: item indices, most moved first, with doubt where there is any."""
        model, items = self._model(), self._items(ITEMS)
        reports = model.explain(model.infer(self._choices()), items)
        assert len(reports) == USERS
        json.dumps(reports, allow_nan=False)
        for report in reports:
            rows = report["items"]
            indices, shifts = [row["index"] for row in rows], [abs(row["shift"]) for row in rows]
            assert len(set(indices)) == len(indices)
            assert set(indices) <= set(range(ITEMS))
            assert shifts == sorted(shifts, reverse=True)
            for row in rows:
                assert (row["doubt"] is not None) == model.has_uncertainty
                assert row["doubt"] is None or row["doubt"] >= 0
        if self.personal:
            assert all(report["items"][0]["shift"] != 0 for report in reports)

    def test_the_prior_has_not_moved(self) -> None:
        """Nothing is explained by no choices."""
        model, items = self._model(), self._items(ITEMS)
        reports = model.explain(model.infer(ChoiceBatch.empty(USERS, self.dim)), items)
        assert all(abs(row["shift"]) < 1e-6 for report in reports for row in report["items"])

    def _same(self, model: PreferenceModel[Any], first: Any, second: Any) -> None:
        assert_close(self._beliefs(model, first), self._beliefs(model, second), **CLOSE)
