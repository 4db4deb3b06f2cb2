"""One user's policy as an ordinary LoRA folder that stock `peft` loads, checked against the live policy."""

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tacit.engines.transformers.attach import Steering
from tacit.engines.transformers.base import Base, load_base
from tacit.errors import ConfigError, TacitError
from tacit.files import atomic_folder
from tacit.policies.policy import SteerablePolicy, User
from tacit.steering.modulators import GatedLoRA

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


@torch.no_grad()
def export_adapter(policy: SteerablePolicy, user: User, folder: str | PathLike[str]) -> Exported:
    """Fold one user's gated LoRA (at the posterior mean) into `folder`, load it with stock `peft` and compare logits.

    The adapter has alpha = rank and every scale inside B, without options that only some engines read. The check runs
    in float32 on a second, fresh copy of the base.

    Raises:
        ConfigError: a modulator that does not fold, or several users.
        TacitError: stock peft gives other logits; nothing is written then.
    """
    if not isinstance(policy.modulator, GatedLoRA):
        kind = policy.config.modulator.kind
        raise ConfigError(f"a policy of the kind '{kind}' is no ordinary adapter; only 'gated_lora' can be exported")
    z = policy.latents(user)
    if len(z) != 1:
        raise ConfigError(f"expected one user to export, found {len(z)}")
    with atomic_folder(folder) as temporary:
        write_adapter(policy.modulator, z[0], policy.base, temporary)
        return _checked(policy, z, temporary, Path(folder))


def write_adapter(modulator: GatedLoRA, z: Tensor, base: Base, folder: Path) -> None:
    """`adapter_config.json` and `adapter_model.safetensors` in the names that peft, vLLM and SGLang read."""
    tensors = {}
    for name, (down, up) in modulator.fold(z).items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = down.float().cpu().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = up.float().cpu().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": modulator.rank,
        "lora_alpha": modulator.rank,
        "target_modules": _targets(modulator, base.model),
        "bias": "none",
        "fan_in_fan_out": isinstance(base.model.get_submodule(modulator.sites[0].name), Conv1D),
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _targets(modulator: GatedLoRA, model: Any) -> list[str]:
    """Last names where they mean just these sites, as engines like them; else full names."""
    chosen = {site.name for site in modulator.sites}
    short = {name.rpartition(".")[2] for name in chosen}
    meant = {
        name
        for name, part in model.named_modules()
        if name.rpartition(".")[2] in short and isinstance(part, nn.Linear | Conv1D)
    }
    return sorted(short if meant == chosen else chosen)


def _checked(policy: SteerablePolicy, z: Tensor, adapter: Path, folder: Path) -> Exported:
    from peft import PeftModel

    fresh = load_base(policy.base.name, device=str(policy.base.device), dtype="float32")
    if fresh.fingerprint != policy.base.fingerprint:
        raise ConfigError(f"base '{fresh.name}' has changed since the policy was loaded; load the policy again")
    vocabulary = fresh.model.get_input_embeddings().num_embeddings
    length = min(32, fresh.context or 32)
    ids = torch.randint(vocabulary, (2, length), generator=torch.Generator().manual_seed(0)).to(fresh.device)
    plain = fresh.model(input_ids=ids).logits
    steering = Steering(fresh.model, policy.modulator)
    with steering.steer(z):
        live = fresh.model(input_ids=ids).logits
    steering.remove()
    folded = PeftModel.from_pretrained(fresh.model, adapter, low_cpu_mem_usage=True).eval()(input_ids=ids).logits
    tolerance = TOLERANCE * max(1.0, float(live.abs().max()))
    difference, moved = float((folded - live).abs().max()), float((live - plain).abs().max())
    if not difference <= tolerance:
        raise TacitError(
            f"the adapter's logits differ from the live policy's by {difference:.1e}, more than {tolerance:.1e}; "
            "nothing was written"
        )
    return Exported(folder, difference, moved, tolerance)
