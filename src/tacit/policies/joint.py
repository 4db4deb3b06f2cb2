"""Training the encoder together with the policy: what z says of a user is then also what the policy needs to know."""

from dataclasses import replace

from torch import Tensor, nn

from tacit.episodes.batch import ChoiceBatch
from tacit.rewards.model import RewardModel

__all__ = ["TunedEncoder"]


class TunedEncoder(nn.Module):
    """A copy of a reward model's encoder that has gradients; z is its posterior mean.

    Where the encoder reads the head's own reward, the head moves with it. What comes out is another reward model, whose
    states are not those of the one that it was: it is saved within the policy, and users are inferred by it anew.
    """

    def __init__(self, reward: RewardModel) -> None:
        super().__init__()
        self._reward = reward
        self.network = reward.network_class(reward.dim, reward.network.config)
        self.network.load_state_dict(reward.network.state_dict())
        # What training of the reward keeps fixed stays so here, and what has no part in z has no gradient.
        wanted = {parameter for parameter in self.network.encoder.parameters() if parameter.requires_grad}
        for parameter in self.network.parameters():
            parameter.requires_grad_(parameter in wanted)
        self.network.eval()

    def train(self, mode: bool = True) -> "TunedEncoder":
        """Dropout stays off, as where z is fixed."""
        return super().train(False)

    def forward(self, vectors: Tensor, rank: Tensor, weight: Tensor) -> Tensor:
        """Float[users latent] of contexts as `ChoiceBatch` has them, in raw item vectors."""
        choices = ChoiceBatch(self.network.standardizer(vectors), rank, weight)
        return self.network.posterior(choices).mean

    def model(self) -> RewardModel:
        """The reward model at this moment."""
        network = self._reward.network_class(self._reward.dim, self._reward.network.config)
        network.load_state_dict({name: value.cpu() for name, value in self.network.state_dict().items()})
        return replace(self._reward, network=network.eval().requires_grad_(False))
