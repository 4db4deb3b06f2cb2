"""Older Llamas have their vocabulary as `tokenizer.model` alone: they load with what a plain installation brings."""

import io
import json
import sys
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tacit.engines import Request, Sampling, TransformersEngine, load_base
from tacit.errors import ConfigError

TEXTS = ["Once there was a dog.", "A cat sat on the mat, and it was happy!", "Tim and Lily went home."] * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=320, model_type="bpe", byte_fallback=True,
        minloglevel=2,
    )  # fmt: skip
    torch.manual_seed(0)
    shape = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=320, max_position_embeddings=96, bos_token_id=1, eos_token_id=2, **shape)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_a_tokenizer_model_is_vocabulary_enough(folder: Path) -> None:
    base = load_base(str(folder))
    ids = base.tokenizer(TEXTS[0]).input_ids
    assert len(ids) < len(TEXTS[0])
    assert base.tokenizer.decode(ids, skip_special_tokens=True) == TEXTS[0]
    ((answer,),) = TransformersEngine(base).generate([Request(TEXTS[0], sampling=Sampling(max_new_tokens=8))])
    assert answer.text


def test_another_vocabulary_is_another_base(folder: Path) -> None:
    known = load_base(str(folder)).fingerprint
    file = folder / "tokenizer.model"
    whole = file.read_bytes()
    assert b"the" in whole
    file.write_bytes(whole.replace(b"the", b"thf"))
    assert load_base(str(folder)).fingerprint != known


def test_a_tokenizer_model_that_cannot_be_read_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # as good as absent
    with pytest.raises(ConfigError, match="--upgrade sentencepiece protobuf") as caught:
        load_base(str(folder))
    assert "\n" not in str(caught.value)
