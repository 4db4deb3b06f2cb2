"""Gated LoRA under the suite that outsiders inherit, and what only it promises: gates, and folding."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from tacit.engines import Base
from tacit.engines.transformers.steering import Steering
from tacit.steering import Modulator, Site, find_blocks, find_linears
from tacit.steering.modulators import GatedLoRA, GatedLoRAConfig
from tacit.testing import ModulatorConformance

SITES = (Site("first", 6, 4), Site("second", 4, 7))


class TestGatedLoRA(ModulatorConformance):
    def make(self, model: Any, latent: int) -> Modulator:
        return GatedLoRA.build(model, latent, GatedLoRAConfig(rank=3))


class TestGatedLoRAOfSomeSites(ModulatorConformance):
    def make(self, model: Any, latent: int) -> Modulator:
        config = GatedLoRAConfig(targets=("v_proj", "down_proj"), blocks=(-1,), rank=1, alpha=0.5)
        return GatedLoRA.build(model, latent, config)

    def test_only_the_chosen_sites_are_changed(self) -> None:
        _, modulator, _ = self._fresh()
        names = [site.name for site in modulator.sites]
        assert names == ["model.layers.1.self_attn.v_proj", "model.layers.1.mlp.down_proj"]


def modulator(dtype: torch.dtype = torch.float64, *, rank: int = 3, alpha: float = 6.0, latent: int = 4) -> GatedLoRA:
    generator = torch.Generator().manual_seed(0)
    made = GatedLoRA(SITES, latent, GatedLoRAConfig(rank=rank, alpha=alpha), generator=generator).to(dtype)
    with torch.no_grad():
        for up in made.up:
            up.copy_(torch.randn(up.shape, generator=generator))
    return made


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)], ids=str)
def test_folded_is_live(dtype: torch.dtype, tolerance: float) -> None:
    """B' (A x), as an ordinary adapter computes it, for each user."""
    made, z = modulator(dtype), normal(2, 4, dtype=dtype)
    signal = made.signal(z)
    for number, site in enumerate(SITES):
        inputs, output = normal(2, 5, site.inputs, dtype=dtype), normal(2, 5, site.outputs, seed=2, dtype=dtype)
        live = made.change(number, inputs, output, signal[number])
        for user in range(2):
            down, up = made.fold(z[user])[site.name]
            assert (down.shape, up.shape) == ((3, site.inputs), (site.outputs, 3))
            folded = output[user] + (inputs[user] @ down.T) @ up.T
            assert_close(folded, live[user], rtol=tolerance, atol=tolerance)
            assert (folded - output[user]).abs().max() > 0.1


def test_folded_weights_are_copies() -> None:
    """What is written to disk must not change with further training, nor drag a graph along."""
    made, z = modulator(), normal(4)
    down, up = made.fold(z)["first"]
    kept = down.clone(), up.clone()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(7)
    assert torch.equal(down, kept[0])
    assert torch.equal(up, kept[1])
    assert not any(part.requires_grad for part in (down, up))


def test_the_basis_serves_every_user_by_scales() -> None:
    """One LoRA for everybody and one a dimension: their weighted sum is what is folded."""
    made, z = modulator(), 3 * normal(5, 4)
    made.unit.fill_(0.7)
    made.power.fill_(0.6)
    made.everybody.fill_(0.3)
    basis, scaled = made.basis(), made.scaled(z)
    assert len(basis) == 5
    for user in range(5):
        folded = made.fold(z[user])
        for name in ("first", "second"):
            assert all(torch.equal(one[name][0], folded[name][0]) for one in basis)
            up = basis[0][name][1] + sum(scaled[user, j] * basis[j + 1][name][1] for j in range(4))
            assert_close(up, folded[name][1], rtol=1e-10, atol=1e-12)


def test_the_change_is_affine_in_z() -> None:
    """As the best policy's log-ratio is (Rafailov et al., 2023, eq. 4)."""
    made = modulator()
    a, b = normal(1, 4), normal(1, 4, seed=2)
    inputs, output = normal(1, 5, 6, seed=3), normal(1, 5, 4, seed=4)

    def change(z: Tensor) -> Tensor:
        return made.change(0, inputs, output, made.signal(z)[0]) - output

    assert_close(change(0.3 * a + 0.7 * b), 0.3 * change(a) + 0.7 * change(b), rtol=1e-12, atol=1e-12)
    assert (change(a) - change(b)).abs().max() > 0.1


@pytest.mark.parametrize(("rank", "alpha"), [(3, 6.0), (2, 1.0)])
def test_of_a_stranger_it_is_the_plain_lora(rank: int, alpha: float) -> None:
    """W x + (alpha / rank) B A x, as trained for everybody."""
    made = modulator(rank=rank, alpha=alpha)
    inputs, output = normal(1, 5, 6), normal(1, 5, 4, seed=2)
    found = made.change(0, inputs, output, made.signal(torch.zeros(1, 4))[0])
    assert_close(found, output + alpha / rank * (inputs @ made.down[0].T) @ made.up[0], rtol=1e-12, atol=1e-12)


GROUPS = ([0, 2], [1])  # the third site reads what the first does


def served(inputs: Tensor, output: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What `change` and `serve` make of the three sites' outputs, one behind the other."""
    sites = (*SITES, Site("third", 6, 4))
    made = GatedLoRA(sites, 4, GatedLoRAConfig(), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for up in made.up:
            up.fill_(0.5)
        signal = made.signal(normal(2, 4, dtype=torch.float32))
        change = made.serve(signal, GROUPS, dtype)
        found = []
        for site in (0, 2, 1):
            x = inputs if site != 1 else inputs[..., :4].contiguous()
            y = output if site != 1 else output.repeat(1, 1, 2)[..., :7]
            found.append((made.change(site, x, y, signal[site]), change.write(site, change.read(site, x), y.clone())))
        return tuple(torch.cat([pair[i].flatten() for pair in found]) for i in (0, 1))  # type: ignore[return-value]


@pytest.mark.parametrize("laid_out", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("inputs_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_served_it_is_the_same_where_autocast_mixes_precisions(
    inputs_dtype: torch.dtype, laid_out: torch.dtype
) -> None:
    """Whichever precision the first site's inputs had."""
    inputs = normal(2, 5, 6, dtype=torch.float32).to(inputs_dtype)
    output = normal(2, 5, 4, seed=2, dtype=torch.float32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = served(inputs, output, laid_out)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert_close(found, expected, rtol=0.02, atol=0.02)


def test_served_it_is_the_same_where_a_module_has_a_precision_or_a_layout_of_its_own() -> None:
    """A base may keep some modules in float32, and need not put out rows that lie one behind the other."""
    inputs, output = normal(2, 5, 6, dtype=torch.float32), normal(5, 2, 4, seed=2, dtype=torch.float32).transpose(0, 1)
    assert not output.is_contiguous()
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
        expected, found = served(inputs, output, dtype)
        assert found.dtype == torch.float32
        assert_close(found, expected, rtol=tolerance, atol=tolerance)


class _Counted(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.products += func is torch.ops.aten.mm.default
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def test_served_sites_of_the_same_inputs_share_a_product_and_else_have_their_own() -> None:
    made = GatedLoRA((SITES[0],) * 3, 4, GatedLoRAConfig(), generator=torch.Generator().manual_seed(0))
    for up in made.up:
        up.fill_(0.5)
    signal, output = made.signal(normal(2, 4, dtype=torch.float32)), torch.zeros(2, 5, 4)
    change = made.serve(signal, [[0, 1, 2]], torch.float32)
    a, b = (normal(2, 5, 6, seed=seed, dtype=torch.float32) for seed in (1, 2))
    for asked, products in (((a, a, a), 1), ((a, b, b), 2), ((b, b, a), 2), ((a, a, a), 1)):
        with _Counted() as counted:
            found = [change.write(site, change.read(site, x), output.clone()) for site, x in enumerate(asked)]
        assert counted.products == products
        for site, inputs in enumerate(asked):
            assert_close(found[site], made.change(site, inputs, output, signal[site]))
    inputs = a.clone()
    gone = weakref.ref(inputs)
    change.read(2, inputs)
    del inputs
    assert gone() is None, "a prompt's inputs are kept"


@torch.no_grad()
def test_a_base_tells_which_of_its_maps_are_given_the_same_inputs(base: Base) -> None:
    """Of the seven of a block: queries, keys and values; the way out; both ways into the MLP; its way out."""
    policy = GatedLoRA.build(base.model, 4, GatedLoRAConfig())
    steering, ids = Steering(base.model, policy), torch.arange(3, 9).unsqueeze(0)
    counts = []
    for context in (steering.off(), steering.steer(normal(1, 4, dtype=torch.float32))):
        with context, _Counted() as counted:
            base.model(input_ids=ids, use_cache=False)
        counts.append(counted.products)
    steering.remove()
    assert counts[1] - counts[0] == 4 * len(find_blocks(base.model))


def test_untrained_the_first_gradient_already_tells_users_apart(base: Base) -> None:
    """B alone moves at first, and to different places for different z: with gates at zero it would not."""
    made = GatedLoRA.build(base.model, 4, GatedLoRAConfig(), torch.Generator().manual_seed(0))
    steering = Steering(base.model, made)
    gradients = []
    for sign in (1, -1):
        made.zero_grad()
        with steering.steer(sign * normal(1, 4, dtype=torch.float32)):
            base.model(input_ids=torch.arange(3, 9).unsqueeze(0)).logits.square().sum().backward()
        gradients.append(torch.cat([up.grad.flatten() for up in made.up]))
    steering.remove()
    assert (gradients[0] - gradients[1]).norm() > 0.3 * gradients[0].norm()


def test_the_generator_alone_decides_the_start(base: Base) -> None:
    """And nobody else's random state is touched."""
    before = torch.get_rng_state()
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 5, 6)]
    first, same, other = (GatedLoRA.build(base.model, 4, GatedLoRAConfig(), g).state_dict() for g in generators)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["gate"], other["gate"])


def test_by_default_every_linear_map_of_the_blocks_is_a_site(base: Base) -> None:
    names = {site.name.rpartition(".")[2] for site in find_linears(base.model, find_blocks(base.model))}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
