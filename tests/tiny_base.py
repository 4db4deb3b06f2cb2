"""A tiny Llama or GPT-2 with byte by byte tokens, saved as a base for policies."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>"]
CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %}"
    "{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def byte_tokenizer(*, chat: bool = False, context: int = 96) -> PreTrainedTokenizerFast:
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({token: number for number, token in enumerate(SPECIAL + alphabet)}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=context
    )
    if chat:
        wrapped.chat_template = CHAT
    return wrapped


def save_base(folder: Path, *, chat: bool = False, seed: int = 0, context: int = 96, gpt2: bool = False) -> Path:
    tokenizer = byte_tokenizer(chat=chat, context=context)
    shared = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if gpt2:
        config = GPT2Config(n_embd=24, n_layer=2, n_head=2, n_positions=context, initializer_range=0.3, **shared)
    else:
        config = LlamaConfig(
            hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=context, initializer_range=0.3, **shared,
        )  # fmt: skip
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
