"""Training the encoder together with the policy: what z says of a user is then also what the policy needs to know."""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ConfigError
from tacit.rewards.model import RewardModel

__all__ = ["TunedEncoder"]


class TunedEncoder(nn.Module):
    """A copy of a reward model's encoder that has gradients; z is its posterior mean.

    Where the encoder reads the head's own reward, the head moves with it. What comes out is another reward model, whose
    states are not those of the one that it was: it is saved within the policy, and users are inferred by it anew.
    """

    def __init__(self, reward: RewardModel) -> None:
        super().__init__()
        if reward.half_life is not None or not reward.network.encoder.latent:
            raise ConfigError(
                "encoder_learning_rate needs an encoder that reads choices, and none that lets them fade; set it to 0"
            )
        self._reward, self.network = reward, deepcopy(reward.network).eval()
        with torch.device("meta"):  # what training of the reward keeps fixed stays so, and nothing else has a part in z
            fresh = reward.network_class(reward.dim, reward.network.config).encoder
        wanted = {name for name, parameter in fresh.named_parameters() if parameter.requires_grad}
        self.network.requires_grad_(False)
        for name, parameter in self.network.encoder.named_parameters():
            parameter.requires_grad_(name in wanted)

    def train(self, mode: bool = True) -> "TunedEncoder":
        """Dropout stays off, as where z is fixed."""
        return super().train(False)

    def forward(self, vectors: Tensor, rank: Tensor, weight: Tensor) -> Tensor:
        """Float[users latent] of contexts as `ChoiceBatch` has them, in raw item vectors."""
        choices = ChoiceBatch(self.network.standardizer(vectors), rank, weight)
        return self.network.posterior(choices).mean

    def model(self) -> RewardModel:
        """The reward model at this moment; its temperature is still that of the one that it was."""
        network = deepcopy(self.network).cpu().requires_grad_(False)
        notes = {name: value for name, value in self._reward.notes.items() if not name.startswith("validation_")}
        return replace(self._reward, network=network, notes=notes | {"trained_along_with_a_policy": True})
