"""What every modulator must do to the language model that it is attached to."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tacit.episodes.hashing import step_generator
from tacit.errors import ConfigError
from tacit.testing.samples import every_gradient, refusal

if TYPE_CHECKING:  # importing transformers takes seconds, which the suites of other parts need not wait for
    from tacit.policies.modulators import Modulator
    from tacit.policies.steering import Steering

__all__ = ["ModulatorConformance"]

VOCABULARY, TOKENS, BEGIN, PATIENCE_S = 32, 6, 1, 60
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}  # a row of a batch and the same row alone, in float32


class ModulatorConformance:
    """The contract of `tacit.policies.Modulator`, checked on a tiny Llama, mostly with weights moved off their start.

    Example:
        class TestMyModulator(ModulatorConformance):
            def make(self, model, latent):
                return MyModulator(find_blocks(model), latent)

    Attributes:
        latent: size asked of `make`.
    """

    latent = 5

    def make(self, model: Any, latent: int) -> "Modulator":
        """A fresh modulator for a causal language model. Override this."""
        raise NotImplementedError

    def _fresh(self, seed: int = 0) -> tuple[Any, "Modulator", "Steering"]:
        """A model, and what `make` gives on it, attached."""
        from tacit.policies.steering import Steering

        model = _tiny_llama()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            modulator = self.make(model, self.latent)
        return model, modulator, Steering(model, modulator)

    def _moved(self) -> tuple[Any, "Modulator", "Steering"]:
        """The same with weights as training might leave them: what starts at zero would pass by doing nothing."""
        model, modulator, steering = self._fresh()
        generator = step_generator(5, 15)
        with torch.no_grad():
            for parameter in modulator.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        modulator.unit.fill_(0.75)
        return model, modulator, steering

    def _z(self, users: int = 2, seed: int = 1) -> Tensor:
        return torch.randn(users, self.latent, generator=step_generator(seed, 14))

    def test_shapes(self) -> None:
        """A signal is [sites users width], each user's from their own z."""
        model, modulator, _ = self._moved()
        assert modulator.latent == self.latent
        assert modulator.parameter_count() == sum(p.numel() for p in modulator.parameters()) > 0
        assert all(model.get_submodule(site.name) for site in modulator.sites)
        z = self._z(3)
        signal = modulator.signal(z)
        assert (signal.ndim, *signal.shape[:2]) == (3, len(modulator.sites), 3)
        assert_close(signal[:, 1:2], modulator.signal(z[1:2]), **CLOSE)

    def test_untrained_it_is_the_reference_bit_for_bit(self) -> None:
        """Whoever asks."""
        model, _, steering = self._fresh()
        expected = _logits(_tiny_llama())
        for z in (torch.zeros(2, self.latent), self._z(), 10 * self._z(seed=2)):
            with steering.steer(z):
                assert torch.equal(_logits(model), expected), "an untrained modulator changes the model"

    def test_off_it_is_the_reference_bit_for_bit(self) -> None:
        """Before, inside and after `steer`, whatever the weights are."""
        model, _, steering = self._moved()
        expected = _logits(_tiny_llama())
        assert torch.equal(_logits(model), expected), "attached, but asked by nobody"
        with steering.steer(self._z()):
            steered = _logits(model)
            with steering.off():
                assert torch.equal(_logits(model), expected), "off inside steer"
            assert torch.equal(_logits(model), steered), "steer goes on after off"
        assert torch.equal(_logits(model), expected), "after steer"
        assert _apart(steered, expected) > 1e-3, "moved weights change nothing"

    def test_removed_it_leaves_no_trace(self) -> None:
        """No hook, no new name, no changed weight; `steer` then does nothing."""
        untouched = _tiny_llama()
        model, _, steering = self._moved()
        with steering.steer(self._z()):
            _logits(model)
        assert _hooks(model) > 0
        steering.remove()
        assert _hooks(model) == _hooks(untouched) == 0
        assert [name for name, _ in model.named_modules()] == [name for name, _ in untouched.named_modules()]
        after = model.state_dict()
        assert all(torch.equal(value, after.pop(name)) for name, value in untouched.state_dict().items())
        assert not after, "new weights in the base"
        with steering.steer(self._z()):
            assert torch.equal(_logits(model), _logits(untouched))

    def test_z_changes_what_every_site_puts_out(self) -> None:
        """Also each site alone."""
        model, modulator, steering = self._moved()
        change = modulator.change
        for chosen in range(len(modulator.sites)):

            def only(site: int, inputs: Tensor, output: Tensor, signal: Tensor, chosen: int = chosen) -> Tensor:
                return change(site, inputs, output, signal) if site == chosen else output

            modulator.change = only  # type: ignore[method-assign]
            with steering.steer(self._z()):
                first = _logits(model)
            with steering.steer(-self._z()):
                assert _apart(first, _logits(model)) > 1e-6, f"z changes nothing at {modulator.sites[chosen].name}"

    def test_each_row_follows_its_own_z(self) -> None:
        """Two users in one batch are each of them alone; with the same text they differ."""
        model, _, steering = self._moved()
        z, ids = self._z(), _ids(2)
        with steering.steer(z):
            together = _logits(model, ids)
            same_text = _logits(model, ids[:1].expand(2, -1))
        for user in range(2):
            with steering.steer(z[user : user + 1]):
                assert_close(together[user : user + 1], _logits(model, ids[user : user + 1]), **CLOSE)
        assert _apart(same_text[0], same_text[1]) > 1e-3, "two users are told the same"

    def test_z_is_read_in_units(self) -> None:
        """Of a z and a unit eight times as long it makes the same."""
        model, modulator, steering = self._moved()
        with steering.steer(self._z()):
            expected = _logits(model)
        modulator.unit.mul_(8)
        with steering.steer(8 * self._z()):
            assert torch.equal(_logits(model), expected), "z is not in units"
        with steering.steer(self._z()):
            assert _apart(_logits(model), expected) > 1e-6, "the unit changes nothing"

    def test_several_rows_of_one_user_come_in_runs(self) -> None:
        """As `generate` lays out beams and samples; changing numbers of rows within one `steer` do not matter."""
        model, _, steering = self._moved()
        z, ids = self._z(), _ids(6)
        expected = []
        for user in range(2):
            with steering.steer(z[user : user + 1]):
                expected.append(_logits(model, ids[3 * user : 3 * user + 3]))
        with steering.steer(z):
            _logits(model, ids[:2])
            assert_close(_logits(model, ids), torch.cat(expected), **CLOSE)
            assert_close(_logits(model, ids[2:4]), torch.cat(expected)[2:4], **CLOSE)
            message = refusal(lambda: _logits(model, ids[:5]), ConfigError)
        assert message, "five rows of two users were answered"
        assert "\n" not in message

    def test_the_signal_is_computed_once_a_request(self) -> None:
        """However many forward passes answer it."""
        model, modulator, steering = self._moved()
        signal, calls = modulator.signal, []

        def counted(z: Tensor) -> Tensor:
            calls.append(z)
            return signal(z)

        modulator.signal = counted  # type: ignore[method-assign]
        with steering.steer(self._z()):
            for rows in (2, 4, 2):
                _logits(model, _ids(rows))
            model.generate(_ids(2), attention_mask=torch.ones(2, TOKENS), max_new_tokens=3, do_sample=False)
        assert len(calls) == 1

    def test_threads_do_not_mix(self) -> None:
        """Two threads inside the same model at the same moment, of different users and numbers of rows."""
        model, _, steering = self._moved()
        asked = [(self._z(1, seed=3), _ids(3)), (self._z(2, seed=4), _ids(2))]

        def answer(z: Tensor, ids: Tensor) -> Tensor:
            with steering.steer(z):
                return _logits(model, ids)

        expected = [answer(z, ids) for z, ids in asked]
        together = threading.Barrier(2)

        def wait(*_: Any) -> None:
            together.wait(PATIENCE_S)

        for part in (model.get_input_embeddings(), *model.model.layers):
            part.register_forward_pre_hook(wait)
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(answer, *zip(*asked, strict=True)))
        assert all(map(torch.equal, found, expected)), "one thread was answered as the other's user"

    def test_gradient_reaches_every_weight(self) -> None:
        """No part is dead once the weights have left their start."""
        model, modulator, steering = self._moved()
        with steering.steer(self._z()):
            moved = every_gradient(modulator, _loss(model))
        assert all(moved.values()), f"no gradient reaches {[name for name, ok in moved.items() if not ok]}"

    def test_activation_checkpointing_gives_exactly_the_same_gradients(self) -> None:
        """Also when two forward passes of different users wait for one backward pass."""
        model, modulator, steering = self._moved()
        expected, plain = self._gradients(model, modulator, steering)
        with _checkpointing(model, use_reentrant=False):
            found, again = self._gradients(model, modulator, steering)
        assert again == 2 * plain, "nothing was computed a second time, so this test says nothing"
        assert all(map(torch.equal, found, expected)), "checkpoints were computed again for somebody else"

    def test_reentrant_checkpointing_is_refused(self) -> None:
        """Its second computation cannot know whose it is; unsteered it may stay."""
        model, _, steering = self._moved()
        with _checkpointing(model, use_reentrant=True), steering.steer(self._z()):
            message = refusal(lambda: model(input_ids=_ids(2), use_cache=False), ConfigError)
        assert "use_reentrant" in message
        assert "\n" not in message

    def test_weights_come_back_from_a_state_dict(self) -> None:
        """Names are all that a saved policy keeps of them."""
        model, modulator, steering = self._moved()
        other, empty, steering_of_other = self._fresh(seed=9)
        z = self._z()
        with steering.steer(z), steering_of_other.steer(z):
            assert _apart(_logits(other), _logits(model)) > 1e-3
        empty.load_state_dict(modulator.state_dict(), strict=True)
        with steering.steer(z), steering_of_other.steer(z):
            assert torch.equal(_logits(other), _logits(model)), "its weights do not say all of what it does"

    def _gradients(self, model: Any, modulator: "Modulator", steering: "Steering") -> tuple[list[Tensor], int]:
        """Of two requests together, and how often the first block's inside ran for them."""
        runs: list[None] = []
        handles = [
            model.model.layers[0].self_attn.register_forward_pre_hook(lambda *_: runs.append(None)),
            # so that backward passes through every block, wherever the sites are
            model.get_input_embeddings().register_forward_hook(lambda *call: call[-1].requires_grad_()),
        ]
        modulator.zero_grad()
        losses = []
        for sign in (1, -1):
            with steering.steer(sign * self._z()):
                losses.append(_loss(model))
        (losses[0] + 2 * losses[1]).backward()
        for handle in handles:
            handle.remove()
        return [parameter.grad.clone() for parameter in modulator.parameters() if parameter.grad is not None], len(runs)


def _tiny_llama() -> Any:
    """Two blocks, always the same frozen weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32, initializer_range=0.3, pad_token_id=0, bos_token_id=BEGIN,
        eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def _ids(rows: int) -> Tensor:
    """Random tokens behind the one that prompts begin with."""
    ids = torch.randint(2, VOCABULARY, (rows, TOKENS), generator=step_generator(6, 16))
    return torch.cat([torch.full((rows, 1), BEGIN), ids[:, 1:]], 1)


@torch.no_grad()
def _logits(model: Any, ids: Tensor | None = None) -> Tensor:
    return model(input_ids=_ids(2) if ids is None else ids, use_cache=False).logits


def _loss(model: Any) -> Tensor:
    logits = model(input_ids=_ids(4), use_cache=False).logits
    return (logits * torch.randn(logits.shape, generator=step_generator(8, 17))).sum()


def _apart(first: Tensor, second: Tensor) -> float:
    return (first - second).abs().max().item()


def _hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in model.modules() for kind in kinds)


@contextmanager
def _checkpointing(model: Any, *, use_reentrant: bool) -> Iterator[None]:
    """Within the block the model trains with activation checkpointing, which transformers renamed in its version 5."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    disable = getattr(model, "activation_checkpointing_disable", None) or model.gradient_checkpointing_disable
    model.train()
    enable({"use_reentrant": use_reentrant})
    try:
        yield
    finally:
        disable()
        model.eval()
