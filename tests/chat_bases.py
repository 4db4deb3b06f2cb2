"""Bases whose tokenizer and template are what a test says, byte by byte, over a tiny Llama."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AddedToken, AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from tacit.engines import Base

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_base(
    template: str = CHATML,
    *,
    control: tuple[str, ...] = ("<|im_start|>", "<|im_end|>"),
    special: bool = True,
    eos: str = "</s>",
    generation_ends: Any = 2,
    context: int = 400,
) -> Base:
    """Not loaded from anywhere: `control` are added tokens, of the kind that templates are written in or not."""
    pieces = ["<pad>", "<s>", "</s>", *control]
    inner = Tokenizer(BPE({token: n for n, token in enumerate(pieces + sorted(ByteLevel.alphabet()))}, []))
    inner.pre_tokenizer, inner.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token=eos, model_max_length=context
    )
    tokenizer.add_tokens([AddedToken(token, special=special, normalized=False) for token in control])
    tokenizer.chat_template = template
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=context, initializer_range=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    model.generation_config.eos_token_id = generation_ends
    return Base("made-up", Path("made-up"), "made-up", model, tokenizer, context)
