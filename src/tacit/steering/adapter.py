"""An ordinary LoRA as the folder that stock `peft`, vLLM and SGLang read."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from tacit.steering.modulator import Lora, Site

__all__ = ["write_adapter"]


def write_adapter(lora: Lora, sites: Sequence[Site], base: str, folder: Path) -> None:
    """`adapter_config.json` and `adapter_model.safetensors` into an existing folder.

    Alpha equals the rank and every scale is inside B, without options that only some engines read.

    Args:
        lora: from `SteerablePolicy.fold` or `basis`.
        sites: of the policy.
        base: path or hub name of the base.
    """
    tensors = {}
    for name, (down, up) in lora.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = down.float().cpu().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = up.float().cpu().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    rank = max(down.shape[0] for down, _ in lora.values())
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({site.target for site in sites}),
        "bias": "none",
        "fan_in_fan_out": sites[0].transposed,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
