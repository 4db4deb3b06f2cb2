"""What every modulator must do to the language model that it is attached to."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.episodes.hashing import step_generator
from tacit.errors import ConfigError
from tacit.testing.samples import every_gradient, refusal
from tacit.testing.tiny_llama import (
    TOKENS,
    apart,
    checkpointing,
    hook_count,
    logits_of,
    loss_of,
    some_ids,
    tiny_llama,
)

if TYPE_CHECKING:  # importing transformers takes seconds, which the suites of other parts need not wait for
    from tacit.engines.transformers.steering import Steering
    from tacit.steering import Change, Modulator

__all__ = ["ModulatorConformance"]

PATIENCE_S = 60
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}  # a row of a batch and the same row alone, in float32


class ModulatorConformance:
    """The contract of `tacit.steering.Modulator`, checked on a tiny Llama, mostly with weights moved off their start.

    Example:
        class TestMyModulator(ModulatorConformance):
            def make(self, model, latent):
                return MyModulator.build(model, latent, MyConfig())

    Attributes:
        latent: size asked of `make`.
    """

    latent = 5

    def make(self, model: Any, latent: int) -> "Modulator":
        """A fresh modulator for a causal language model. Override this."""
        raise NotImplementedError

    def _fresh(self, seed: int = 0) -> tuple[Any, "Modulator", "Steering"]:
        """A model, and what `make` gives on it, attached."""
        from tacit.engines.transformers.steering import Steering

        model = tiny_llama()
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
        expected = logits_of(tiny_llama())
        for z in (torch.zeros(2, self.latent), self._z(), 10 * self._z(seed=2)):
            with steering.steer(z):
                assert torch.equal(logits_of(model), expected), "an untrained modulator changes the model"

    def test_off_it_is_the_reference_bit_for_bit(self) -> None:
        """Before, inside and after `steer`, whatever the weights are."""
        model, _, steering = self._moved()
        expected = logits_of(tiny_llama())
        assert torch.equal(logits_of(model), expected), "attached, but asked by nobody"
        with steering.steer(self._z()):
            steered = logits_of(model)
            with steering.off():
                assert torch.equal(logits_of(model), expected), "off inside steer"
            assert torch.equal(logits_of(model), steered), "steer goes on after off"
        assert torch.equal(logits_of(model), expected), "after steer"
        assert apart(steered, expected) > 1e-3, "moved weights change nothing"

    def test_removed_it_leaves_no_trace(self) -> None:
        """No hook, no other `forward`, no new name, no changed weight; `steer` then does nothing."""
        untouched = tiny_llama()
        model, _, steering = self._moved()
        with steering.steer(self._z()):
            logits_of(model)
        assert hook_count(model) > 0
        steering.remove()
        assert hook_count(model) == hook_count(untouched) == 0
        assert not any("forward" in vars(part) for part in model.modules())
        assert [name for name, _ in model.named_modules()] == [name for name, _ in untouched.named_modules()]
        after = model.state_dict()
        assert all(torch.equal(value, after.pop(name)) for name, value in untouched.state_dict().items())
        assert not after, "new weights in the base"
        with steering.steer(self._z()):
            assert torch.equal(logits_of(model), logits_of(untouched))

    def test_z_changes_what_every_site_puts_out(self) -> None:
        """Also each site alone."""
        model, modulator, steering = self._moved()
        serve = modulator.serve
        for chosen in range(len(modulator.sites)):

            def only(*laid_out: Any, chosen: int = chosen) -> "Change":
                change = serve(*laid_out)
                write = change.write
                change.write = lambda site, noted, output: (  # type: ignore[method-assign]
                    write(site, noted, output) if site == chosen else output
                )
                return change

            modulator.serve = only  # type: ignore[method-assign]
            with steering.steer(self._z()):
                first = logits_of(model)
            with steering.steer(-self._z()):
                assert apart(first, logits_of(model)) > 1e-6, f"z changes nothing at {modulator.sites[chosen].name}"

    def test_each_row_follows_its_own_z(self) -> None:
        """Two users in one batch are each of them alone; with the same text they differ."""
        model, _, steering = self._moved()
        z, ids = self._z(), some_ids(2)
        with steering.steer(z):
            together = logits_of(model, ids)
            same_text = logits_of(model, ids[:1].expand(2, -1))
        for user in range(2):
            with steering.steer(z[user : user + 1]):
                assert_close(together[user : user + 1], logits_of(model, ids[user : user + 1]), **CLOSE)
        assert apart(same_text[0], same_text[1]) > 1e-3, "two users are told the same"

    def test_without_gradients_it_is_the_same(self) -> None:
        """Where `serve` answers, as where `change` does, for other rows within one request too."""
        model, _, steering = self._moved()
        with steering.steer(self._z()):
            for rows in (2, 4, 2):
                ids = some_ids(rows)
                expected = model(input_ids=ids, use_cache=False).logits.detach()
                assert_close(logits_of(model, ids), expected, **CLOSE, msg=lambda m: f"serve is not change: {m}")

    def test_z_is_read_in_units(self) -> None:
        """Of a z and a unit eight times as long it makes the same."""
        model, modulator, steering = self._moved()
        with steering.steer(self._z()):
            expected = logits_of(model)
        modulator.unit.mul_(8)
        with steering.steer(8 * self._z()):
            assert torch.equal(logits_of(model), expected), "z is not in units"
        with steering.steer(self._z()):
            assert apart(logits_of(model), expected) > 1e-6, "the unit changes nothing"

    def test_where_users_agree_on_nothing_a_stranger_gets_the_reference(self) -> None:
        """And somebody who is known does not."""
        model, modulator, steering = self._moved()
        expected = logits_of(model)
        modulator.everybody.zero_()
        with steering.steer(0 * self._z()):
            assert torch.equal(logits_of(model), expected), "everybody gets something that nobody asked for"
        with steering.steer(self._z()):
            assert apart(logits_of(model), expected) > 1e-3

    def test_gradients_come_after_a_look_without_any(self) -> None:
        """Within one request."""
        model, modulator, steering = self._moved()
        with steering.steer(self._z()):
            expected = every_gradient(modulator, loss_of(model))
        modulator.zero_grad()
        with steering.steer(self._z()):
            logits_of(model, some_ids(4))
            assert every_gradient(modulator, loss_of(model)) == expected

    def test_several_rows_of_one_user_come_in_runs(self) -> None:
        """As `generate` lays out beams and samples; changing numbers of rows within one `steer` do not matter."""
        model, _, steering = self._moved()
        z, ids = self._z(), some_ids(6)
        expected = []
        for user in range(2):
            with steering.steer(z[user : user + 1]):
                expected.append(logits_of(model, ids[3 * user : 3 * user + 3]))
        with steering.steer(z):
            logits_of(model, ids[:2])
            assert_close(logits_of(model, ids), torch.cat(expected), **CLOSE)
            assert_close(logits_of(model, ids[2:4]), torch.cat(expected)[2:4], **CLOSE)
            message = refusal(lambda: logits_of(model, ids[:5]), ConfigError)
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
                logits_of(model, some_ids(rows))
            model.generate(some_ids(2), attention_mask=torch.ones(2, TOKENS), max_new_tokens=3, do_sample=False)
        assert len(calls) == 1

    def test_threads_do_not_mix(self) -> None:
        """Two threads inside the same model at the same moment, of different users and numbers of rows."""
        model, _, steering = self._moved()
        asked = [(self._z(1, seed=3), some_ids(3)), (self._z(2, seed=4), some_ids(2))]

        def answer(z: Tensor, ids: Tensor) -> Tensor:
            with steering.steer(z):
                return logits_of(model, ids)

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
            moved = every_gradient(modulator, loss_of(model))
        assert all(moved.values()), f"no gradient reaches {[name for name, ok in moved.items() if not ok]}"

    def test_activation_checkpointing_gives_exactly_the_same_gradients(self) -> None:
        """Also when two forward passes of different users wait for one backward pass."""
        model, modulator, steering = self._moved()
        expected, plain = self._gradients(model, modulator, steering)
        with checkpointing(model, use_reentrant=False):
            found, again = self._gradients(model, modulator, steering)
        assert again == 2 * plain, "nothing was computed a second time, so this test says nothing"
        assert all(map(torch.equal, found, expected)), "checkpoints were computed again for somebody else"

    def test_reentrant_checkpointing_is_refused(self) -> None:
        """Its second computation cannot know whose it is; unsteered it may stay."""
        model, _, steering = self._moved()
        with checkpointing(model, use_reentrant=True), steering.steer(self._z()):
            message = refusal(lambda: model(input_ids=some_ids(2), use_cache=False), ConfigError)
        assert "use_reentrant" in message
        assert "\n" not in message

    @torch.no_grad()
    def test_what_it_folds_into_does_the_same(self) -> None:
        """The ordinary LoRA of one z, and its basis weighted for that z; kinds that fold into none say so."""
        model, modulator, steering = self._moved()
        z = self._z(1)
        try:
            folded = modulator.fold(z[0])
        except ConfigError:
            assert refusal(modulator.basis, ConfigError), "it has a basis and does not fold"
            return
        with steering.steer(z):
            live = logits_of(model)
        for name, (down, up) in folded.items():
            model.get_submodule(name).weight += up @ down
        assert_close(logits_of(model), live, **CLOSE, msg=lambda m: f"folded is not live: {m}")
        weights = [1.0, *modulator.scaled(z)[0].tolist()]
        for name, (_, up) in folded.items():
            parts = [weight * part[name][1] for weight, part in zip(weights, modulator.basis(), strict=True)]
            assert_close(sum(parts), up, **CLOSE, msg=lambda m: f"the basis is not what is folded: {m}")

    def test_weights_come_back_from_a_state_dict(self) -> None:
        """Names are all that a saved policy keeps of them."""
        model, modulator, steering = self._moved()
        other, empty, steering_of_other = self._fresh(seed=9)
        z = self._z()
        with steering.steer(z), steering_of_other.steer(z):
            assert apart(logits_of(other), logits_of(model)) > 1e-3
        empty.load_state_dict(modulator.state_dict(), strict=True)
        with steering.steer(z), steering_of_other.steer(z):
            assert torch.equal(logits_of(other), logits_of(model)), "its weights do not say all of what it does"

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
                losses.append(loss_of(model))
        (losses[0] + 2 * losses[1]).backward()
        for handle in handles:
            handle.remove()
        return [parameter.grad.clone() for parameter in modulator.parameters() if parameter.grad is not None], len(runs)
