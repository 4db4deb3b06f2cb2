"""A base is probed where it is loaded: padding is nothing to it, and its tokenizer stays within its embeddings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from families import tiny
from moved_policy import refused
from tiny_base import byte_tokenizer, save_base
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tacit.engines import Request, Sampling, TransformersEngine, load_base
from tacit.errors import ConfigError


def saved(folder: Path, model: Any) -> str:
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def recurrent(family: str) -> Any:
    sizes = {"vocab_size": 259, "hidden_size": 32, "num_hidden_layers": 2}
    own = {
        "rwkv": {"attention_hidden_size": 32, "intermediate_size": 48, "context_length": 64},
        "xlstm": {"num_heads": 4, "num_blocks": 2},
        "mamba": {"state_size": 4},
    }
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes, **own[family]))


@pytest.mark.parametrize("family", ["rwkv", "xlstm"])
def test_a_family_to_which_padding_is_something_is_refused_by_name(family: str, tmp_path: Path) -> None:
    """Whatever was computed of a batch would be wrong."""
    message = refused(lambda: load_base(saved(tmp_path, recurrent(family))), ConfigError)
    assert f"'{family}'" in message
    assert str(tmp_path) in message
    assert "padded row" in message


def test_a_recurrent_family_that_obeys_its_mask_is_taken(tmp_path: Path) -> None:
    assert load_base(saved(tmp_path, recurrent("mamba"))).model.config.model_type == "mamba"


def test_positions_that_count_padding_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a model whose positions come from nowhere but the place in the row."""
    folder = save_base(tmp_path, gpt2=True)
    from transformers import GPT2LMHeadModel

    forward = GPT2LMHeadModel.forward

    def deaf(self: Any, input_ids: Any, attention_mask: Any = None, **settings: Any) -> Any:
        return forward(self, input_ids, attention_mask=attention_mask, **settings)

    monkeypatch.setattr(GPT2LMHeadModel, "forward", deaf)
    assert "'gpt2'" in refused(lambda: load_base(str(folder)), ConfigError)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rounding_is_no_fault(base_folder: Path, gpt2_folder: Path, dtype: str) -> None:
    for folder in (base_folder, gpt2_folder):
        assert load_base(str(folder), dtype=dtype).model.dtype == getattr(torch, dtype)


def test_tokens_beyond_the_embeddings_are_refused_by_name(tmp_path: Path) -> None:
    """Their first text would end in an index error, deep inside the model."""
    folder = save_base(tmp_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<mood>", "<topic>"])
    tokenizer.save_pretrained(folder)
    message = refused(lambda: load_base(str(folder)), ConfigError)
    assert "2 tokens (such as '<mood>', 259) beyond the 259 rows" in message
    assert "resize_token_embeddings" in message


def test_a_padding_token_beyond_the_embeddings_is_replaced(tmp_path: Path) -> None:
    """It is masked, so any other will do."""
    folder = save_base(tmp_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    base = load_base(str(folder))
    assert base.tokenizer.pad_token_id == 259
    assert base.pad == base.tokenizer.eos_token_id
    asked = [Request(prompt, sampling=Sampling(max_new_tokens=3, temperature=0)) for prompt in ("Hi", "A longer one")]
    assert len(TransformersEngine(base).generate(asked)) == 2


def test_more_embeddings_than_tokens_are_fine(tmp_path: Path) -> None:
    """As many checkpoints have, for round numbers."""
    model = tiny("llama")
    model.resize_token_embeddings(320)
    assert load_base(saved(tmp_path, model)).vocabulary == 320
