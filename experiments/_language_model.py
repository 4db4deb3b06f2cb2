"""Random language models of real shapes, with a tokenizer of which one word is one token: speed without a download."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

__all__ = ["SHAPES", "answer", "random_base"]

transformers_logging.disable_progress_bar()

WORDS = 2000
SHAPES = {
    "tiny": {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6,
             "num_attention_heads": 4, "num_key_value_heads": 2},
    "0.5b": {"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
             "num_attention_heads": 14, "num_key_value_heads": 2},
    "1.5b": {"vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
             "num_attention_heads": 12, "num_key_value_heads": 2},
}  # fmt: skip
"""Sizes by name; `0.5b` and `1.5b` are those of Qwen2.5."""


def random_base(folder: Path, shape: str, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Path:
    """Save a model of that shape with random weights, and its tokenizer.

    A Llama, which is a Qwen2 but for biases: whatever tokenizer lies beside a Qwen2, transformers 5 splits texts as
    Qwen's own does, and none of our words is left.
    """
    tokens = ["<pad>", "<s>", "</s>", "\n", *(f"w{i}" for i in range(WORDS))]
    tokenizer = Tokenizer(WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<pad>",
        model_max_length=4096,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(seed)
    config = LlamaConfig(
        **SHAPES[shape], max_position_embeddings=4096, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def answer(rng: random.Random, tokens: int) -> str:
    """A text of so many tokens."""
    return " ".join(f"w{rng.randrange(WORDS)}" for _ in range(tokens))
