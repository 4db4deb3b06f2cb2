import json
import logging
import shutil

import numpy as np
import pytest
import torch
from conftest import SIZES, WINDOW, WORDS, save_bert, save_tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertModel, LlamaForCausalLM, RobertaConfig, RobertaModel, T5Config, T5Model

from tacit.embedders import Embedder, resolve_embedder
from tacit.errors import EmbeddingError


def words(n: int, seed: int = 0) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, n))


ITEMS = [(words(n % 5, n), words(1 + 7 * n % 40, 100 + n)) for n in range(24)]
"""Prompts of 0 to 4 words, responses of 1 to 40: some need several windows."""


def test_encoder_averages_its_real_tokens(bert):
    embedder = resolve_embedder(str(bert))
    tokens = AutoTokenizer.from_pretrained(bert)("w1 w2\nw3 w4 w5", return_tensors="pt")
    with torch.inference_mode():
        states = BertModel.from_pretrained(bert)(**tokens).last_hidden_state
    np.testing.assert_allclose(embedder.embed([("w1 w2", "w3 w4 w5")])[0], states[0].mean(0), atol=1e-5)
    assert embedder.spec["pooling"] == "mean"


def test_causal_model_gives_the_last_real_token_after_the_final_norm(llama):
    embedder = resolve_embedder(str(llama))
    assert embedder.spec["pooling"] == "last"
    tokenizer, model = AutoTokenizer.from_pretrained(llama), LlamaForCausalLM.from_pretrained(llama)
    assert tokenizer.padding_side == "left"
    items = [("", "w1"), ("w9", "w3 w4 w5 w6"), ("w7 w8", "w2")]
    vectors = embedder.embed(items)
    for side in ("left", "right"):
        tokenizer.padding_side = side
        tokens = tokenizer([f"{p}\n{r}".strip() for p, r in items], padding=True, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens, output_hidden_states=True).hidden_states[-1]
        position = -1 if side == "left" else None
        for row, (state, mask) in enumerate(zip(states, tokens["attention_mask"], strict=True)):
            last = state[position] if position else state[int(mask.sum()) - 1]
            np.testing.assert_allclose(vectors[row], last, atol=1e-5, err_msg=f"{side}, row {row}")


@pytest.mark.parametrize("model", ["bert", "llama"])
@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_batches_change_nothing(model, batch_tokens, request):
    folder = str(request.getfixturevalue(model))
    embedder = resolve_embedder(folder, batch_tokens=batch_tokens)
    together = embedder.embed(ITEMS)
    alone = np.concatenate([embedder.embed([item]) for item in ITEMS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.dtype == np.float32
    assert together.shape == (len(ITEMS), embedder.dim)


@pytest.mark.parametrize("model", ["bert", "llama"])
@pytest.mark.parametrize("response_words", [3, WINDOW - 2, WINDOW + 5, 5 * WINDOW])
def test_truncation_never_hides_the_end_of_a_response(model, response_words, request):
    embedder = resolve_embedder(str(request.getfixturevalue(model)))
    prompt, response = words(500, 1), words(response_words - 1, 2)
    a, b = embedder.embed([(prompt, f"{response} w1"), (prompt, f"{response} w2")])
    assert np.abs(a - b).max() > 1e-2


def test_prompt_counts_as_far_as_there_is_room(bert):
    embedder = resolve_embedder(str(bert))
    response = words(WINDOW - 2 - 3)
    far, near, other = embedder.embed([(f"w1 {words(9)}", response), (f"w2 {words(9)}", response), ("w3", response)])
    np.testing.assert_array_equal(far, near, err_msg="only the last three words of the prompt fit")
    assert np.abs(far - other).max() > 1e-2


def test_long_response_is_the_weighted_mean_of_its_windows(bert):
    embedder = resolve_embedder(str(bert))
    room = WINDOW - 2
    text = words(room + 4).split()
    first, second = embedder.embed([("", " ".join(text[:room])), ("", " ".join(text[room:]))])
    whole = embedder.embed([("", " ".join(text))])[0]
    np.testing.assert_allclose(whole, (room * first + 4 * second) / (room + 4), atol=1e-5)


def test_pooling_and_window_can_be_chosen(llama):
    default = resolve_embedder(str(llama))
    chosen = resolve_embedder(str(llama), pooling="mean", max_length=8)
    assert isinstance(chosen, Embedder)
    assert chosen.spec == {"name": str(llama), "pooling": "mean", "max_length": 8}
    assert np.abs(chosen.embed(ITEMS[:1]) - default.embed(ITEMS[:1])).max() > 1e-2


def test_spec_resolves_to_the_same_embedder(bert):
    embedder = resolve_embedder(str(bert), pooling="first", max_length=9)
    again = resolve_embedder(**json.loads(json.dumps(embedder.spec)))
    assert again.fingerprint == embedder.fingerprint
    np.testing.assert_array_equal(again.embed(ITEMS), embedder.embed(ITEMS))


def test_relative_path_is_stored_in_full(bert, monkeypatch):
    monkeypatch.chdir(bert.parent)
    assert resolve_embedder(f"./{bert.name}").spec["name"] == str(bert.resolve())


def test_fingerprint_names_contents_and_settings_not_places(bert, tmp_path):
    here = resolve_embedder(str(bert)).fingerprint
    assert resolve_embedder(str(shutil.copytree(bert, tmp_path / "copy")), batch_tokens=7).fingerprint == here
    others = [
        resolve_embedder(str(bert), pooling="first").fingerprint,
        resolve_embedder(str(bert), max_length=8).fingerprint,
        resolve_embedder(str(save_bert(tmp_path / "weights", seed=1))).fingerprint,
    ]
    assert len({here, *others}) == 4


def test_device_and_dtype_are_logged(bert, caplog):
    with caplog.at_level(logging.INFO, logger="tacit.embedders"):
        resolve_embedder(str(bert), device="cpu", dtype="bfloat16")
    assert "bfloat16 on cpu, 16 dimensions, pooling mean, max_length 16" in caplog.text


def test_half_precision_is_close_and_keeps_the_fingerprint(bert):
    full, half = resolve_embedder(str(bert), dtype="float32"), resolve_embedder(str(bert), dtype="bfloat16")
    assert full.fingerprint == half.fingerprint
    a, b = full.embed(ITEMS), half.embed(ITEMS)
    assert (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b) > 0.999


def test_nothing_to_embed_gives_no_rows(bert):
    assert resolve_embedder(str(bert)).embed([]).shape == (0, 16)


def test_roberta_loses_its_padding_positions(tmp_path):
    RobertaModel(RobertaConfig(**{**SIZES, "pad_token_id": 1, "max_position_embeddings": 12})).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, framed=True)
    embedder = resolve_embedder(str(tmp_path))
    assert embedder.spec["max_length"] == 10
    assert np.isfinite(embedder.embed([("", words(50))])).all()


def break_nothing(folder):
    pass


def no_config(folder):
    (folder / "config.json").unlink()


def no_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


def pickle_only(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncated_weights(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-64])


def missing_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.0.attention.self.query.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def wrong_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))


def broken_config(folder):
    (folder / "config.json").write_text("{")


def encoder_decoder(folder):
    shutil.rmtree(folder)
    T5Model(T5Config(vocab_size=205, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)).save_pretrained(folder)
    save_tokenizer(folder, framed=True)


def remote_code(folder):
    auto_map = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto_map}))
    (folder / "evil.py").write_text("raise SystemExit('remote code ran')")


@pytest.mark.parametrize(
    ("damage", "settings", "message"),
    [
        (no_config, {}, "holds no config.json"),
        (no_tokenizer, {}, "no tokenizer.json"),
        (pickle_only, {}, r"no \*.safetensors weights"),
        (truncated_weights, {}, "cannot be loaded"),
        (missing_weight, {}, "lacks 1 weights .*query.weight"),
        (wrong_shape, {}, "cannot be loaded"),
        (broken_config, {}, "cannot be loaded"),
        (encoder_decoder, {}, "is an encoder-decoder"),
        (remote_code, {}, "cannot be loaded"),
        (break_nothing, {"max_length": WINDOW + 1}, "expected 3 to 16 tokens"),
        (break_nothing, {"max_length": 2}, "expected 3 to 16 tokens"),
        (break_nothing, {"pooling": "median"}, "expected one of mean, last, first"),
        (break_nothing, {"device": "abacus"}, "no device 'abacus'"),
        (break_nothing, {"dtype": "int4"}, "dtype 'int4' is unknown"),
        (break_nothing, {"batch_tokens": 0}, "batch_tokens"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(damage, settings, message, tmp_path):
    folder = save_bert(tmp_path / "model")
    damage(folder)
    with pytest.raises(EmbeddingError, match=message) as caught:
        resolve_embedder(str(folder), **settings)
    assert "\n" not in str(caught.value)


def test_response_without_a_token_is_refused(tmp_path, llama):
    folder = shutil.copytree(llama, tmp_path / "bare")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    with pytest.raises(EmbeddingError, match="no token"):
        resolve_embedder(str(folder)).embed([("", " ")])
