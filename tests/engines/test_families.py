"""Steering holds for the families of language models that people use, and says where it cannot."""

from typing import Any, Literal

import pytest
import torch
from families import VOCABULARY, build, tiny
from torch import Tensor
from torch.testing import assert_close

from tacit.engines.transformers.dialogue import Tokens
from tacit.engines.transformers.log_probs import response_log_probs
from tacit.engines.transformers.steering import Steering
from tacit.errors import ConfigError
from tacit.steering import Modulator, find_blocks, find_linears

LATENT = 5
STEERABLE = (
    "llama", "qwen2", "qwen3", "gemma", "gemma3_text", "mistral", "phi3", "olmo2", "gpt2", "gpt_neox", "falcon",
    "bloom", "mpt",
)  # fmt: skip
Kind = Literal["gated_lora", "film"]


def attach(family: str, kind: Kind) -> tuple[Any, Modulator, Steering]:
    model = tiny(family)
    modulator = build(model, LATENT, kind=kind)
    return model, modulator, Steering(model, modulator)


def move(modulator: Modulator, size: float = 0.3) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in modulator.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def padded(lengths: tuple[int, ...], seed: int = 2) -> tuple[Tensor, Tensor]:
    """Random rows of these lengths, padded on the left."""
    generator, longest = torch.Generator().manual_seed(seed), max(lengths)
    ids = torch.randint(3, VOCABULARY, (len(lengths), longest), generator=generator)
    mask = (torch.arange(longest) >= longest - torch.tensor(lengths).unsqueeze(1)).long()
    return ids * mask, mask


Z = torch.randn(2, LATENT, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", ["gated_lora", "film"])
@pytest.mark.parametrize("family", STEERABLE)
@torch.no_grad()
def test_a_family_is_steered_row_by_row_and_else_left_alone(family: str, kind: Kind) -> None:
    model, modulator, steering = attach(family, kind)
    ids, mask = padded((6, 6, 6, 6))
    expected = tiny(family)(input_ids=ids, attention_mask=mask).logits
    with steering.steer(Z):
        assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, expected), "untrained"
    move(modulator)
    with steering.steer(Z):
        steered = model(input_ids=ids, attention_mask=mask).logits
        with steering.off():
            assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, expected), "off"
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, expected), "afterwards"
    assert (steered - expected).abs().amax((1, 2)).min() > 0.05
    for user in range(2):
        rows = slice(2 * user, 2 * user + 2)
        with steering.steer(Z[user : user + 1]):
            alone = model(input_ids=ids[rows], attention_mask=mask[rows]).logits
        assert_close(alone, steered[rows], rtol=1e-4, atol=1e-4)
    with steering.steer(Z.flip(0)):
        assert (model(input_ids=ids, attention_mask=mask).logits - steered).abs().amax((1, 2)).min() > 0.05


@pytest.mark.parametrize("family", STEERABLE)
def test_a_cached_answer_to_two_users_is_each_of_them_alone(family: str) -> None:
    """Greedy, with prompts of two lengths: every later token is steered as the prompt was."""
    model, modulator, steering = attach(family, "gated_lora")
    move(modulator, 0.6)  # enough for other tokens to be the likeliest
    ids, mask = padded((7, 4))
    asked: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with steering.steer(Z):
        together = model.generate(input_ids=ids, attention_mask=mask, **asked)[:, 7:]
    changed = 0
    for row, length in enumerate((7, 4)):
        own, seen = ids[row : row + 1, -length:], mask[row : row + 1, -length:]
        with steering.steer(Z[row : row + 1]):
            alone = model.generate(input_ids=own, attention_mask=seen, **asked)[:, length:]
            once_more = model.generate(input_ids=own, attention_mask=seen, use_cache=False, **asked)[:, length:]
        assert alone.tolist() == together[row : row + 1].tolist() == once_more.tolist()
        changed += alone.tolist() != model.generate(input_ids=own, attention_mask=seen, **asked)[:, length:].tolist()
    assert changed, "both users got the base's own answers, so this says nothing"


@pytest.mark.parametrize("family", [*STEERABLE, "opt"])
@torch.no_grad()
def test_log_probs_of_a_padded_batch_are_those_of_each_row_token_by_token(family: str) -> None:
    """Whether the family has learnt positions, rotary ones, or none at all."""
    model, (ids, mask) = tiny(family), padded((9, 6, 4))
    response = torch.tensor([3, 4, 2])
    found = response_log_probs(model, Tokens(ids, mask, response))
    for row, (length, answer) in enumerate(zip(mask.sum(1).tolist(), response.tolist(), strict=True)):
        own, total = ids[row, -length:], 0.0
        for token in range(length - answer, length):
            logits = model(input_ids=own[:token].unsqueeze(0), use_cache=False).logits[0, -1]
            total += float(logits.log_softmax(-1)[own[token]])
        assert found[row].item() == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize(
    ("family", "site"), [("opt", "model.decoder.layers.0.fc1"), ("qwen2_moe", "model.layers.0.mlp.shared_expert")]
)
def test_a_site_where_users_cannot_be_told_apart_is_refused_by_name(family: str, site: str) -> None:
    """These families flatten users and tokens into one axis there; elsewhere they can be steered."""
    model = tiny(family)
    with pytest.raises(ConfigError, match=site) as caught:
        Steering(model, build(model, LATENT))
    assert "\n" not in str(caught.value)
    assert "targets" in str(caught.value)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules()), "hooks are left behind"
    Steering(model, build(model, LATENT, targets=("q_proj", "v_proj")))


def test_targets_that_no_block_has_are_refused_with_the_choices() -> None:
    model = tiny("gpt2")
    with pytest.raises(ConfigError, match=r"'gpt2'.*q_proj, v_proj.*choose from c_attn, c_fc, c_proj") as caught:
        find_linears(model, find_blocks(model), ("v_proj", "c_attn", "q_proj"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [2, -3])
def test_blocks_that_the_base_does_not_have_are_refused_with_the_choices(number: int) -> None:
    with pytest.raises(ConfigError, match=f"block {number} .*0 to 1") as caught:
        find_blocks(tiny("llama"), (0, number))
    assert "\n" not in str(caught.value)


def test_a_model_without_a_list_of_blocks_is_refused() -> None:
    model = tiny("llama")
    model.config.num_hidden_layers = 7
    with pytest.raises(ConfigError, match=r"'llama'.*7 blocks"):
        find_blocks(model)


def test_blocks_may_be_counted_from_the_end_and_come_in_the_bases_order_once() -> None:
    model = tiny("falcon")
    names = [site.name for site in find_blocks(model, (-1, 0, 1))]
    assert names == ["transformer.h.0", "transformer.h.1"]
    assert [site.name for site in find_blocks(model, (-1,))] == ["transformer.h.1"]


def test_gpt2s_transposed_maps_have_the_sizes_of_what_goes_in_and_out() -> None:
    sites = find_linears(tiny("gpt2"), find_blocks(tiny("gpt2"), (0,)))
    sizes = {site.name.removeprefix("transformer.h.0."): (site.inputs, site.outputs) for site in sites}
    assert sizes["attn.c_attn"] == (32, 96)
    assert sizes["mlp.c_proj"][1] == 32
