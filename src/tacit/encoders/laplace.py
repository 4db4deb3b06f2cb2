"""The Laplace encoder: exact-in-the-limit inference of z under the head's own reward and a learnt mixture prior."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from tacit.encoders.encoder import Encoder, comparison_evidence
from tacit.encoders.mixture import MixturePosterior
from tacit.episodes.batch import ChoiceBatch

__all__ = ["LaplaceEncoder"]


class _RewardChange(nn.Module):
    """(winner, loser, tie) -> [df, db]: how far the two items lie apart in the features of r = f(y) . z + b(y)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, winner: Tensor, loser: Tensor, tie: Tensor) -> Tensor:
        return self.net(winner) - self.net(loser)


class LaplaceEncoder(Encoder):
    """q(z | choices): each component of the prior updated by a Laplace approximation, reweighted by its evidence.

    Prior: z ~ sum_c pi_c N(mu_c, diag sigma_c^2), all learnt, with mean zero, so that b(y) is the reward of a user of
    whom nothing is known. A single component is the standard normal: the head absorbs the rest. Likelihood: prod_j
    sigmoid(df_j . z + db_j)^weight_j. With z = mu_c + sigma_c * e, Newton steps find the mode of e; its curvature gives
    the covariance, and

        log w_c = log pi_c + sum_j weight_j log sigmoid(gap_j) - |e|^2 / 2 - log det(H_c) / 2

    the weight (MacKay, 1992; Rasmussen and Williams, 2006, eq. 3.32). All steps but the last run without gradients: at
    the mode the last one has the gradients of the implicit function, which is how the features learn to be good for
    inference. The components let it say "this choice rules that kind of user out", which no single step shows.

    A row of evidence is [df, db] of one choice, so states grow with k (latent + 1 numbers a choice). A tie moves
    nothing, and a ranking counts as one comparison of its stages' mean gaps.
    """

    additive: ClassVar[bool] = False
    has_uncertainty = True

    def __init__(self, features: nn.Module, latent: int, *, components: int = 1, steps: int = 4) -> None:
        super().__init__()
        self.latent, self.steps = latent, steps
        self.evidence_dim = latent + 1
        self.change = _RewardChange(features)
        learnt = components > 1
        self.location = nn.Parameter(torch.randn(components, latent) if learnt else torch.zeros(1, latent), learnt)
        self.log_scale = nn.Parameter(torch.zeros(components, latent), learnt)
        self.logit = nn.Parameter(torch.zeros(components), learnt)

    def evidence(self, choices: ChoiceBatch) -> Tensor:
        """[df, db] of each choice: Float[users choices latent+1]."""
        return comparison_evidence(self.change, choices)

    def posterior(self, rows: Tensor, weight: Tensor) -> MixturePosterior:
        """The mixture of Laplace approximations."""
        scale, mean = self.log_scale.exp(), self.location - self.logit.softmax(0) @ self.location
        f = rows[:, None, :, :-1] * scale[:, None]  # users components rows latent, in units of e
        at_mean = rows[:, None, :, -1] + torch.einsum("url,cl->ucr", rows[..., :-1], mean)
        weight = weight.unsqueeze(1)

        def newton(e: Tensor) -> tuple[Tensor, Tensor]:
            """Hessian and right-hand side of the step from e: H e' = gradient + (H - I) e."""
            moved = torch.einsum("ucrl,ucl->ucr", f, e)
            doubt = torch.sigmoid(-(at_mean + moved))
            curvature = doubt * (1 - doubt) * weight
            hessian = torch.einsum("ucr,ucri,ucrj->ucij", curvature, f, f) + torch.eye(self.latent, dtype=f.dtype).to(f)
            return hessian, torch.einsum("ucr,ucrl->ucl", doubt * weight + curvature * moved, f)

        with torch.no_grad():
            mode = f.new_zeros(*f.shape[:2], self.latent)
            for _ in range(self.steps - 1):
                hessian, right = newton(mode)
                mode = torch.cholesky_solve(right.unsqueeze(-1), torch.linalg.cholesky(hessian)).squeeze(-1)
        hessian, right = newton(mode.detach())
        root = torch.linalg.cholesky(hessian)
        mode = torch.cholesky_solve(right.unsqueeze(-1), root).squeeze(-1)
        fit = (functional.logsigmoid(at_mean + torch.einsum("ucrl,ucl->ucr", f, mode)) * weight).sum(-1)
        volume = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_weight = self.logit.log_softmax(0) + fit - mode.square().sum(-1) / 2 - volume
        eye = torch.eye(self.latent, dtype=root.dtype, device=root.device).expand_as(root)
        inverse = torch.linalg.solve_triangular(root, eye, upper=False)
        return MixturePosterior.of(
            log_weight.log_softmax(-1),
            mean + scale * mode,
            scale.unsqueeze(-1) * inverse.transpose(-1, -2),
        )
