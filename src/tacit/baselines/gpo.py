"""GPO (group preference optimisation): a transformer neural process reads a user's choices and scores new items.

Source: Zhao, Dang and Grover, 2024 (arXiv 2310.11523), on the transformer neural process of Nguyen and Grover, 2022
(arXiv 2207.04179). Context points (x, y) and targets (x, ?) are tokens of one transformer without positions. Context
tokens attend to the context, target tokens to the context and themselves, never to each other; the loss is the
log-likelihood of the targets' answers, meta-learned over users with a random context. A new user takes one pass.

    c_j = E_c([e(w_j); e(l_j)])           one token per choice, the winner first: the order is the answer
    t_i = E_t(e(y_i))                     one token per item to score
    c <- B(c, {null, c}),  t <- B(t, {null, c})        the same block for both, in each layer
    r(y_i | context) = v . t_i            P(a over b | context) = sigmoid(r(a | context) - r(b | context))

Deviations:
- Published answers are shares of a group, under a Gaussian whose means are a softmax over the options of a question.
  A choice is one answer: here the loss is the log-likelihood of the softmax over the two items, which is BTL. So a
  target token is an item, swapping a pair flips the gap, and `score` exists.
- A context token is a pair and says who won by its order (published: an option beside its share).
- A learnt null token stands in every context, so that no choices at all are something to attend to.
- A token reaches itself by the residual path; published targets also attend to themselves.
- Blocks are pre-norm (no long warm-up) and by default 2 of width 64 (published: 6 of width 128), embeddings are MLPs of
  two layers (published: 4), the reward is linear (published: two layers): there are some hundred users here, and one
  CPU thread.
- A pair of weight w (a tie is two of 1/2) counts as w equal tokens would; weight 0 does not exist.
- Items are standardised, k varies by user within a batch, and training stops early on validation users: all methods
  here share these.
"""

from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, AdaptiveNetwork, Fitted
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs, pairs_of
from tacit.encoders.encoder import mlp
from tacit.episodes.episode import Episode
from tacit.objectives.reward import nll
from tacit.training.config import ObjectiveConfig

__all__ = ["GPO", "GPOConfig", "GPONetwork"]


WIDTH, HEADS = 64, 4


class GPOConfig(BaseModel):
    """Blocks of the transformer."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layers: int = Field(default=2, ge=1, le=64)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class _Block(nn.Module):
    """Pre-norm attention of some tokens to weighted context tokens, then a feed-forward step on each."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key_value = nn.Linear(WIDTH, 2 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(nn.LayerNorm(WIDTH), mlp([WIDTH, WIDTH, WIDTH], dropout=dropout))

    def forward(self, tokens: Tensor, context: Tensor, log_weight: Tensor) -> Tensor:
        """Float[users tokens width] from context Float[users rows width] with log_weight Float[users rows]."""
        query = self.query(self.norm(tokens)).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        key_value = self.key_value(self.norm(context)).unflatten(-1, (2, HEADS, -1))
        key, value = key_value.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=log_weight[:, None, None, :])
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.feed(tokens)


class GPONetwork(AdaptiveNetwork):
    """Embeddings of choices and items, the blocks they share, and the linear reward."""

    config: GPOConfig

    def __init__(self, dim: int, config: GPOConfig, n_users: int = 1) -> None:
        super().__init__(dim, config)
        self.embed_choice = mlp([2 * dim, WIDTH, WIDTH], dropout=config.dropout)
        self.embed_item = mlp([dim, WIDTH, WIDTH], dropout=config.dropout)
        self.null = nn.Parameter(torch.zeros(WIDTH))
        self.blocks = nn.ModuleList(_Block(config.dropout) for _ in range(config.layers))
        self.read = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 1, bias=False))

    def adapt(self, pairs: Pairs) -> Fitted:
        """`rows` Float[users layers 1+pairs width], what each layer attends to, and `log_weight` Float[users 1+pairs].

        The null token comes first, with weight 1.
        """
        rows = self.embed_choice(torch.cat([pairs.winner, pairs.loser], dim=-1))
        rows = torch.cat([self.null.expand(len(rows), 1, -1), rows], dim=1)
        log_weight = functional.pad(pairs.weight, (1, 0), value=1.0).log()
        layers = [rows]
        for block in self.blocks[:-1]:
            layers.append(block(layers[-1], layers[-1], log_weight))
        return {"rows": torch.stack(layers, dim=1), "log_weight": log_weight}

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Reward of each item given the context, whatever else is scored: Float[users items]."""
        return self._read(fitted, self.embed_item(items).expand(len(fitted["rows"]), -1, -1))

    def _read(self, fitted: Fitted, tokens: Tensor) -> Tensor:
        """Rewards Float[users items] of embedded items Float[users items width]."""
        rows, log_weight = fitted["rows"], fitted["log_weight"]
        for layer, block in enumerate(self.blocks):
            tokens = block(tokens, rows[:, layer], log_weight)
        return self.read(tokens).squeeze(-1)

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """Negative log-likelihood of the targets given the context."""
        pairs = pairs_of(episode.through(self.embed_item).target)
        rewards = self._read(self.posterior(episode.context), torch.cat([pairs.winner, pairs.loser], dim=1))
        winner, loser = rewards.chunk(2, dim=1)
        return nll(functional.logsigmoid(winner - loser).unsqueeze(0), pairs.weight)


@baselines.register("gpo")
class GPO(AdaptiveModel):
    """GPO as a `PreferenceModel`."""

    name = "gpo"
    label, kind = "GPO", "published"
    network_class, config_class = GPONetwork, GPOConfig
    grid = grid({}, {"dropout": 0.3}, {"layers": 3}, {"dropout": 0.3, "principal": 32})
    training: ClassVar = {"steps": 500, "users_per_batch": 32}
