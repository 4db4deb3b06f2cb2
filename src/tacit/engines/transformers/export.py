"""One user's policy as an ordinary LoRA folder that stock `peft` loads, checked against the live policy."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from tacit.engines.transformers.base import load_base
from tacit.engines.transformers.engine import TransformersEngine
from tacit.errors import TacitError
from tacit.files import atomic_folder
from tacit.steering.adapter import write_adapter
from tacit.steering.policy import SteerablePolicy, User

__all__ = ["Exported", "export_adapter"]

TOLERANCE = 1e-5
"""Largest difference of logits between adapter and live policy, as a share of max(1, largest |logit|)."""


@dataclass(frozen=True)
class Exported:
    """A written adapter: largest |difference| of its logits from the live policy's, and from the base's."""

    folder: Path
    difference: float
    moved: float
    tolerance: float


def export_adapter(
    policy: SteerablePolicy,
    user: User,
    folder: str | PathLike[str],
    *,
    base: str | None = None,
    device: str | None = None,
) -> Exported:
    """Fold one user's policy (at the posterior mean) into `folder`, load it with stock `peft` and compare logits.

    The check runs in float32 on a fresh copy of the base.

    Args:
        base: path or hub name, where the base is not under its old name.

    Raises:
        ConfigError: a modulator that does not fold, several users, or another base.
        TacitError: stock peft gives other logits; nothing is written then.
    """
    lora = policy.fold(user)
    name = base or policy.base.name
    with atomic_folder(folder) as temporary:
        write_adapter(lora, policy.sites, name, temporary)
        return _checked(policy, policy.latents(user), name, device, temporary, Path(folder))


@torch.no_grad()
def _checked(
    policy: SteerablePolicy, z: Tensor, name: str, device: str | None, adapter: Path, folder: Path
) -> Exported:
    from peft import PeftModel

    fresh = load_base(name, device=device, dtype="float32")
    length = min(32, fresh.context or 32)
    ids = torch.randint(fresh.vocabulary, (2, length), generator=torch.Generator().manual_seed(0)).to(fresh.device)
    plain = fresh.model(input_ids=ids).logits
    with TransformersEngine(fresh, policy) as engine, engine.steered(z) as model:
        live = model(input_ids=ids).logits
    folded = PeftModel.from_pretrained(fresh.model, adapter, low_cpu_mem_usage=True).eval()(input_ids=ids).logits
    tolerance = TOLERANCE * max(1.0, float(live.abs().max()))
    difference, moved = float((folded - live).abs().max()), float((live - plain).abs().max())
    if not difference <= tolerance:
        raise TacitError(
            f"the adapter's logits differ from the live policy's by {difference:.1e}, more than {tolerance:.1e}; "
            "nothing was written"
        )
    return Exported(folder, difference, moved, tolerance)
