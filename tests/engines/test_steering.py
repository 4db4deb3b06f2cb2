"""`Steering` beyond what every modulator is checked for: nested requests, shared bases, checkpoints of every age."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from families import VOCABULARY, build, tiny
from torch import Tensor, nn

from tacit.engines.transformers.steering import Steering
from tacit.steering import Modulator

LATENT = 3
Z = torch.randn(2, LATENT, generator=torch.Generator().manual_seed(3))
IDS = torch.randint(3, VOCABULARY, (2, 5), generator=torch.Generator().manual_seed(4))


def attach(model: Any, seed: int = 0, kind: Any = "gated_lora") -> tuple[Modulator, Steering]:
    """A modulator with moved weights."""
    generator = torch.Generator().manual_seed(seed)
    modulator = build(model, LATENT, seed, kind=kind, **({"rank": 2} if kind == "gated_lora" else {}))
    with torch.no_grad():
        for parameter in modulator.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return modulator, Steering(model, modulator)


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def gradients(model: Any, modulator: Modulator, steering: Steering) -> list[Tensor]:
    """Of one steered forward pass, and of one that is off in between."""
    modulator.zero_grad()
    with steering.steer(Z):
        steered = model(input_ids=IDS, use_cache=False).logits
        with steering.off():
            reference = model(input_ids=IDS, use_cache=False).logits
    (steered - reference).square().sum().backward()
    return [parameter.grad.clone() for parameter in modulator.parameters() if parameter.grad is not None]


def checkpoint(model: Any) -> None:
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    model.train()
    enable({"use_reentrant": False})


def test_a_request_inside_a_request_is_the_inner_ones_and_then_the_outer_ones() -> None:
    model = tiny("llama")
    _, steering = attach(model)
    with steering.steer(Z):
        outer = logits(model)
    with steering.steer(-Z):
        inner = logits(model)
    with steering.steer(Z):
        with steering.steer(-Z):
            assert torch.equal(logits(model), inner)
        assert torch.equal(logits(model), outer)


def test_a_request_that_fails_is_over() -> None:
    model = tiny("llama")
    _, steering = attach(model)
    with pytest.raises(RuntimeError, match="midway"), steering.steer(Z):
        raise RuntimeError("midway")
    assert torch.equal(logits(model), logits(tiny("llama")))


def test_attaching_leaves_a_model_in_training_there() -> None:
    """The probe runs in evaluation mode, so that nothing is dropped out or drawn."""
    model, before = tiny("gpt2").train(), torch.get_rng_state()
    modulator = build(model, LATENT)
    Steering(model, modulator)
    assert model.training
    assert all(part.training for part in model.modules() if not isinstance(part, Modulator))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["gated_lora", "film"])
def test_two_steerings_of_one_model_each_train_their_own_way(kind: str) -> None:
    """The second takes the model's checkpoints over, and the first takes them back."""
    model = tiny("llama")
    pairs = [attach(model, seed, kind) for seed in (0, 1)]
    expected = [gradients(model, *pair) for pair in pairs]
    checkpoint(model)
    for number in (0, 1, 0):
        assert all(map(torch.equal, gradients(model, *pairs[number]), expected[number]))


@pytest.mark.parametrize("kind", ["gated_lora", "film"])
def test_checkpoints_that_wrap_a_blocks_hooks_too_are_right_from_the_first_step(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in transformers 5.0, where a block's own hook would come too late to give its checkpoint the signal."""
    model = tiny("llama")
    modulator, steering = attach(model, kind=kind)
    expected = gradients(model, modulator, steering)
    block = type(model.model.layers[0])

    def call(self: Any, *args: Any, **settings: Any) -> Any:
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(partial(nn.Module.__call__, self, **settings), *args)
        return nn.Module.__call__(self, *args, **settings)

    monkeypatch.setattr(block, "forward", getattr(block.forward, "__wrapped__", block.forward))
    monkeypatch.setattr(block, "__call__", call)
    checkpoint(model)
    assert all(map(torch.equal, gradients(model, modulator, steering), expected))


def test_a_backward_pass_in_another_thread_computes_again_for_the_same_users() -> None:
    """As on an accelerator, whose backward passes run in threads of their own, where nobody has called `steer`."""
    model = tiny("llama")
    modulator, steering = attach(model)
    found = []
    for prepare in (lambda _: None, checkpoint):
        prepare(model)
        modulator.zero_grad()
        with steering.steer(Z):
            loss = model(input_ids=IDS, use_cache=False).logits.square().sum()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(loss.backward).result()
        found.append([parameter.grad for parameter in modulator.parameters()])
    assert all(map(torch.equal, *found))


def test_an_unsteered_model_may_checkpoint_as_it_likes() -> None:
    """Only a steered pass needs to be computed again for somebody."""
    model = tiny("llama")
    attach(model)
    model.train()
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": True})
    embedded = model.get_input_embeddings()(IDS).requires_grad_()
    model(inputs_embeds=embedded, use_cache=False).logits.sum().backward()
    assert embedded.grad is not None


@pytest.mark.parametrize("first", [0, 1])
def test_steerings_of_one_model_come_and_go_in_any_order(first: int) -> None:
    """The other goes on as alone, and the last leaves the model's modules as they were."""
    expected = []
    for seed in (0, 1):
        model = tiny("llama")
        _, steering = attach(model, seed)
        with steering.steer(Z):
            expected.append(logits(model))
    model = tiny("llama")
    untouched = logits(model)
    steerings = [attach(model, seed)[1] for seed in (0, 1)]
    for number, steering in enumerate(steerings):
        with steering.steer(Z):
            assert torch.equal(logits(model), expected[number])
    steerings[first].remove()
    with steerings[first].steer(Z):
        assert torch.equal(logits(model), untouched)
    with steerings[1 - first].steer(Z):
        assert torch.equal(logits(model), expected[1 - first])
    steerings[1 - first].remove()
    assert not any("forward" in vars(part) for part in model.modules())


def test_a_forward_that_others_have_put_there_stays() -> None:
    """As accelerate does, before a steering comes or after."""
    for before in (True, False):
        model, ran = tiny("llama"), []
        part = model.model.layers[0].mlp.up_proj
        _, steering = attach(model) if not before else (None, None)
        plain = part.forward

        def theirs(inputs: Tensor, plain: Any = plain, ran: list[int] = ran) -> Tensor:
            ran.append(1)
            return plain(inputs)

        part.forward = theirs
        steering = steering or attach(model)[1]
        with steering.steer(Z):
            steered = logits(model)
        assert ran
        steering.remove()
        assert part.forward is theirs
        with steering.steer(Z):
            assert torch.equal(logits(model), logits(tiny("llama")))
        model = tiny("llama")
        with attach(model)[1].steer(Z):
            assert torch.equal(logits(model), steered)


def test_a_module_may_be_asked_by_keyword() -> None:
    """And what it answers is changed as ever."""
    model = tiny("llama")
    _, steering = attach(model)
    part, inputs = model.model.layers[0].mlp.up_proj, torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    with steering.steer(Z):
        assert torch.equal(part(input=inputs), part(inputs))
        changed = part(inputs)
        with steering.off():
            assert not torch.equal(part(input=inputs), changed)
