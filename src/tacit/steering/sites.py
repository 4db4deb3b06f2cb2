"""Where a modulator can act: the blocks of a causal language model and the linear maps inside them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from tacit.errors import ConfigError
from tacit.steering.modulator import Site

__all__ = ["find_begin", "find_blocks", "find_embeddings", "find_linears"]


def find_blocks(model: Any, chosen: Sequence[int] | None = None) -> list[Site]:
    """The transformer blocks, all or some by number, as sites of the hidden size.

    Raises:
        ConfigError: no list of blocks, or no block of that number.
    """
    config = model.config.get_text_config()
    count, width = config.num_hidden_layers, config.hidden_size
    stacks = [name for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if not stacks:
        raise ConfigError(
            f"{_family(model)}: no list of its {count} blocks is found, so it cannot be steered; use another base"
        )
    numbers = range(count) if chosen is None else sorted({_from_end(number, count) for number in chosen})
    return [Site(f"{stacks[0]}.{number}", width, width) for number in numbers]


def find_linears(model: Any, blocks: Sequence[Site], targets: Sequence[str] | None = None) -> list[Site]:
    """The linear maps (`nn.Linear`, GPT-2's `Conv1D`) in some blocks, all or those of some last names.

    Raises:
        ConfigError: a name that no block has, or no linear map at all.
    """
    found = [site for block in blocks for site in _linears(model.get_submodule(block.name), block.name)]
    names = sorted({site.target for site in found})
    unknown = sorted(set(targets or ()) - set(names))
    if unknown or not names:
        raise ConfigError(
            f"{_family(model)}: targets {', '.join(unknown) or 'of any name'} are no linear maps of its blocks; "
            f"choose from {', '.join(names) or 'another base'}"
        )
    chosen = [site for site in found if targets is None or site.target in targets]
    known = {site.name for site in chosen}
    shared = {site.target for site in _linears(model, "") if site.name not in known}
    return [replace(site, target=site.name) if site.target in shared else site for site in chosen]


def find_embeddings(model: Any) -> Site:
    """The table of input embeddings, as a site that takes one number and gives a vector."""
    table = model.get_input_embeddings()
    name = next(name for name, part in model.named_modules() if part is table)
    return Site(name, 1, table.embedding_dim)


def find_begin(model: Any) -> int:
    """The token that prompts begin with, by the model's configuration.

    Raises:
        ConfigError: it names none.
    """
    begin = model.config.get_text_config().bos_token_id
    if not isinstance(begin, int):
        raise ConfigError(f"{_family(model)} names no token that prompts begin with, which 'soft_token' needs")
    return begin


def _linears(part: nn.Module, prefix: str) -> Iterator[Site]:
    from transformers.pytorch_utils import Conv1D

    for name, inner in part.named_modules(prefix=prefix):
        last = name.rpartition(".")[2]
        if isinstance(inner, nn.Linear):
            yield Site(name, inner.in_features, inner.out_features, last)
        elif isinstance(inner, Conv1D):
            yield Site(name, inner.nx, inner.nf, last, transposed=True)


def _from_end(number: int, count: int) -> int:
    if not -count <= number < count:
        raise ConfigError(f"block {number} of a base that has blocks 0 to {count - 1}; choose among those")
    return number % count


def _family(model: Any) -> str:
    return f"a base of the family {model.config.model_type!r}"
