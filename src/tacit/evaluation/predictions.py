"""What a model and its controls predict for the target pairs of every user at every k.

The controls are asked the same questions: `adaptation_off` is the model with k forced to 0, `shuffled_user` the model
with the context of another user (a seeded derangement of the users that have k choices), `pooled` another model, which
is shown no context.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tacit.episodes import ChoiceBatch, step_generator
from tacit.errors import ModelFormatError
from tacit.evaluation.episodes import EvaluationEpisodes, ItemVectors, TargetPairs
from tacit.rewards.protocol import PreferenceModel

__all__ = ["Predictions", "derangement", "predict"]

_ROUNDING = 1e-3  # float32 and half-precision averages over z leave probabilities this far from exact


@dataclass(frozen=True)
class Predictions:
    """Probabilities given to what users in fact chose.

    Shapes:
        ks: the context sizes.
        users: Int64[users], user numbers in the evaluated index.
        has_k: Bool[ks users], whether a user has at least k context choices.
        targets: Int64[users targets 2], item ids (chosen, rejected).
        real: Bool[users targets], False on padding.
        chosen: by method ("model", then the controls), Float32[ks users targets]; NaN where a user lacks k choices.
    """

    ks: tuple[int, ...]
    users: Tensor
    has_k: Tensor
    targets: Tensor
    real: Tensor
    chosen: dict[str, Tensor]


@torch.no_grad()
def predict(
    model: PreferenceModel[Any],
    episodes: EvaluationEpisodes,
    vectors: ItemVectors,
    ks: Sequence[int],
    *,
    pooled: PreferenceModel[Any] | None = None,
    seed: int = 0,
    users_per_chunk: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Ask `model` and its controls about every user's targets, `users_per_chunk` users at a time.

    `progress` is called with (users asked, users).
    """
    shape = episodes.chosen_first.shape
    has_k = torch.stack([episodes.n_context >= k for k in ks])
    chosen = torch.full((len(ks), *shape), torch.nan)
    shuffled = chosen.clone()
    off, flat = torch.full(shape, torch.nan), torch.full(shape, torch.nan)
    donors = [_donors(has, step_generator(seed, 202, k)) for k, has in zip(ks, has_k, strict=True)]
    ask_model, ask_pooled = _Respondent(model), None if pooled is None else _Respondent(pooled)

    done = 0
    # Users with as many targets side by side: a chunk is padded to its longest only.
    for rows in torch.argsort(episodes.n_targets).split(users_per_chunk):
        pairs = episodes.target_pairs(rows, vectors)
        width = pairs.real.shape[1]
        nothing = episodes.context_batch(rows, 0, vectors)
        off[rows, :width] = ask_model(nothing, pairs)
        if ask_pooled:
            flat[rows, :width] = ask_pooled(nothing, pairs)
        for i, k in enumerate(ks):
            able = has_k[i, rows].nonzero().squeeze(1)
            if k == 0 or not len(able):
                continue
            asked = pairs.of_users(able)
            chosen[i, rows[able], :width] = ask_model(episodes.context_batch(rows[able], k, vectors), asked)
            if len(donor := donors[i]):
                context = episodes.context_batch(donor[rows[able]], k, vectors)
                shuffled[i, rows[able], :width] = ask_model(context, asked)
        done += len(rows)
        if progress is not None:
            progress(done, len(episodes.users))
    for i, k in enumerate(ks):
        if k == 0:
            chosen[i] = shuffled[i] = off

    def same_at_every_k(values: Tensor) -> Tensor:
        return torch.where(has_k.unsqueeze(-1), values, torch.nan)

    answers = {"model": chosen}
    if pooled is not None:
        answers["pooled"] = same_at_every_k(flat)
    answers |= {"adaptation_off": same_at_every_k(off), "shuffled_user": shuffled}
    return Predictions(tuple(ks), episodes.users, has_k, episodes.targets, episodes.real, answers)


def derangement(n: int, generator: torch.Generator) -> Tensor:
    """Int64[n]: a random cycle through all n >= 2 positions, so that nobody keeps the own place."""
    order = torch.randperm(n, generator=generator)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner


def _donors(has: Tensor, generator: torch.Generator) -> Tensor:
    """Int64[users]: whose context each user borrows; -1 for users without k choices; empty when nobody can lend."""
    able = has.nonzero().squeeze(1)
    if len(able) < 2:
        return able.new_empty(0)
    donor = torch.full((len(has),), -1)
    donor[able] = able[derangement(len(able), generator)]
    return donor


class _Respondent:
    """A model under questions: each pair is asked once, in the order of `pairs`; the answers are checked."""

    def __init__(self, model: PreferenceModel[Any]) -> None:
        self.model = model
        self._tie_mass: bool | None = None  # found out on the first chunk: asking everything twice doubles the cost

    def __call__(self, context: ChoiceBatch, pairs: TargetPairs) -> Tensor:
        """Float32[users targets]: probability of what was chosen, given that one of the two was."""
        state = self.model.infer(context)
        first = self._ask(state, pairs.a, pairs.b, pairs.real)
        if self._tie_mass is None or self._tie_mass:
            second = self._ask(state, pairs.b, pairs.a, pairs.real)
            total = first + second
            if self._tie_mass is None:
                if bool((total[pairs.real] > 1 + _ROUNDING).any()):
                    self._refuse(
                        f"prefer(a, b) + prefer(b, a) = {float(total[pairs.real].max()):.3f}, expected 1 or less"
                    )
                self._tie_mass = bool((total[pairs.real] < 1 - _ROUNDING).any())
            if self._tie_mass:
                first = first / total.clamp(min=1e-12)
        return torch.where(pairs.chosen_first, first, 1 - first)

    def _ask(self, state: Any, a: Tensor, b: Tensor, real: Tensor) -> Tensor:
        p = self.model.prefer(state, a, b).float().cpu()
        if p.shape != real.shape:
            self._refuse(f"prefer returned {tuple(p.shape)}, expected [users pairs] = {tuple(real.shape)}")
        if not bool(((p >= -_ROUNDING) & (p <= 1 + _ROUNDING))[real].all()):  # also catches NaN
            self._refuse("prefer returned a probability outside 0..1 or NaN; the weights or item vectors are damaged")
        return p.clamp(0, 1)

    def _refuse(self, found: str) -> None:
        raise ModelFormatError(f"model {self.model.name!r}: {found}")
