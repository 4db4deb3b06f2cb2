"""The Laplace encoder: exact-in-the-limit inference of z under the head's own reward and a learnt mixture prior."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tacit.encoders import encoders
from tacit.encoders.encoder import Encoder, EncoderConfig, comparison_evidence
from tacit.encoders.posterior import MixturePosterior
from tacit.episodes.batch import ChoiceBatch

__all__ = ["LaplaceConfig", "LaplaceEncoder"]

STEPS = 4
"""Newton steps to the mode; more change nothing that counts (docs/log.md)."""


class LaplaceConfig(EncoderConfig):
    """Settings of the Laplace encoder: Gaussians in the learnt prior; several suit users of a few types."""

    components: int = Field(default=1, ge=1, le=64)

    @property
    def reads_reward(self) -> bool:
        """Always."""
        return True

    @property
    def on_base(self) -> bool:
        """Most accurate so (docs/log.md)."""
        return True

    @property
    def members(self) -> int:
        """Four, under a prior of one Gaussian: kernels can be averaged then (`tacit.rewards.ensemble`)."""
        return 4 if self.components == 1 else 1


@encoders.register("laplace")
class LaplaceEncoder(Encoder):
    """q(z | choices): each component of the prior updated by a Laplace approximation, reweighted by its evidence.

    Prior: z ~ sum_c pi_c N(mu_c, diag sigma_c^2), all learnt, with mean zero, so that b(y) is the reward of a user of
    whom nothing is known. A single component is the standard normal: the head absorbs the rest. Likelihood: prod_j
    sigmoid(df_j . z + db_j)^weight_j. With z = mu_c + sigma_c * e, Newton steps find the mode of e; its curvature gives
    the covariance, and

        log w_c = log pi_c + sum_j weight_j log sigmoid(gap_j) - |e|^2 / 2 - log det(H_c) / 2

    the weight (MacKay, 1992; Rasmussen and Williams, 2006, eq. 3.32). The first half of the steps climbs the quadratic
    bound of Jaakkola and Jordan (2000), which never overshoots: where choices contradict b(y) by a few nats, Newton's
    own steps can swing from side to side for ever. All steps but the last run without gradients: near the mode the last
    has the gradients of the implicit function, which is how the features learn to be good for inference. The components
    let it say "this choice rules that kind of user out", which no single step shows.

    A row of evidence is [df, db] of one choice, so states grow with k (latent + 1 numbers a choice). A tie moves
    nothing, and a ranking counts as one comparison of its stages' mean gaps.
    """

    config_class = LaplaceConfig
    additive: ClassVar[bool] = False
    has_uncertainty = True

    def __init__(
        self,
        dim: int,
        latent: int,
        config: LaplaceConfig | None = None,
        *,
        features: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, latent, features=features)
        components = (config or LaplaceConfig()).components
        self.steps = STEPS
        self.evidence_dim = latent + 1
        learnt = components > 1
        self.location = nn.Parameter(torch.randn(components, latent) if learnt else torch.zeros(1, latent), learnt)
        self.log_scale = nn.Parameter(torch.zeros(components, latent), learnt)
        self.logit = nn.Parameter(torch.zeros(components), learnt)

    def compare(self, choices: ChoiceBatch) -> Tensor:
        """[df, db] of each choice, from the [f, b] of r = f(y) . z + b(y): Float[users choices latent+1]."""
        return comparison_evidence(_change, choices)

    def posterior(self, rows: Tensor, weight: Tensor) -> MixturePosterior:
        """The mixture of Laplace approximations."""
        if len(self.logit) == 1:  # a standard normal prior: e is z
            mode, factor = _climb(rows[..., :-1].contiguous(), -rows[..., -1:], weight.unsqueeze(-1), self.steps)[:2]
            return MixturePosterior.of(mode.new_zeros(len(rows), 1), mode.mT, factor.unsqueeze(1))
        users, components = len(rows), len(self.logit)
        scale, mean = self.log_scale.exp(), self.location - self.logit.softmax(0) @ self.location
        df = rows[..., :-1]
        f = (df.unsqueeze(1) * scale.unsqueeze(1)).flatten(0, 1)
        behind = -(rows[:, None, :, -1] + (df @ mean.T).mT).flatten(0, 1).unsqueeze(-1)
        weight = weight.unsqueeze(1).expand(-1, components, -1).flatten(0, 1).unsqueeze(-1)
        mode, factor, root = _climb(f, behind, weight, self.steps)
        fit = (functional.logsigmoid(torch.bmm(f, mode) - behind) * weight).squeeze(-1).sum(-1)
        volume = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        fit, volume, mode, factor = (part.unflatten(0, (users, components)) for part in (fit, volume, mode, factor))
        mode = mode.squeeze(-1)
        log_weight = (self.logit.log_softmax(0) + fit - mode.square().sum(-1) / 2 - volume).log_softmax(-1)
        return MixturePosterior.of(log_weight, mean + scale * mode, scale.unsqueeze(-1) * factor)


def _climb(f: Tensor, behind: Tensor, weight: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Newton's steps up sum_j weight_j log sigmoid(f_j . e - behind_j) - |e|^2 / 2, with curvature H at the last.

    States are small, so what counts is how many operations there are: vectors are columns, and products `bmm`.

    Args:
        f: Float[batch rows latent].
        behind: Float[batch rows 1], the gaps at e = 0, reversed.
        weight: Float[batch rows 1].

    Returns:
        The mode Float[batch latent 1]; F with F F^T = H^-1, and the root of H, both Float[batch latent latent].
    """
    eye = torch.eye(f.shape[-1], dtype=f.dtype, device=f.device)

    def newton(e: Tensor | None, *, bounded: bool = False) -> tuple[Tensor, Tensor]:
        """The step from e, None = 0: H e' = gradient + (H - I) e. Returns e' and the root of H."""
        moved = None if e is None else torch.bmm(f, e)
        lost = behind if moved is None else behind - moved
        doubt = torch.sigmoid(lost)
        slope = doubt * weight
        curvature = weight * (_bounding_curvature(lost) if bounded else doubt * (1 - doubt))
        root = torch.linalg.cholesky_ex(torch.bmm((f * curvature).mT, f) + eye)[0]
        right = torch.bmm(f.mT, slope if moved is None else slope + curvature * moved)
        return torch.cholesky_solve(right, root), root

    mode = None
    with torch.no_grad():
        for step in range(steps - 1):
            mode, _ = newton(mode, bounded=step < steps // 2)
    mode, root = newton(mode)
    return mode, torch.linalg.solve_triangular(root, eye.expand_as(root), upper=False).mT, root


def _bounding_curvature(gap: Tensor) -> Tensor:
    """The least curvature of a parabola below log sigmoid that touches it at `gap`: tanh(gap / 2) / (2 gap)."""
    half = gap.abs().clamp(min=1e-3) / 2  # even in the gap, and 1/4 at 0
    return torch.tanh(half) / (4 * half)


def _change(winner: Tensor, loser: Tensor, tie: Tensor) -> Tensor:
    return winner - loser
