"""Tiny transformers built in code: a BERT encoder and a Llama decoder over a vocabulary of 200 words."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()

WORDS = [f"w{i}" for i in range(200)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"]
WINDOW = 16
SIZES = {
    "vocab_size": len(WORDS) + len(SPECIAL),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": WINDOW,
    "initializer_range": 0.5,  # far from degenerate, so that a wrong token shows
    "pad_token_id": 0,
}


def save_tokenizer(folder: Path, *, framed: bool) -> None:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    single = "[CLS] $A [SEP]" if framed else "[CLS] $A"
    tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=WINDOW,
        padding_side="right" if framed else "left",
    ).save_pretrained(folder)


def save_bert(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    BertModel(BertConfig(**SIZES)).save_pretrained(folder)
    save_tokenizer(folder, framed=True)
    return folder


def save_llama(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**SIZES, bos_token_id=2, eos_token_id=3)).save_pretrained(folder)
    save_tokenizer(folder, framed=False)
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"))
