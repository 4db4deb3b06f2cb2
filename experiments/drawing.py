"""The draw of a token, without the model: milliseconds for a batch, against what `transformers` does for the same.

    python experiments/drawing.py [--repeats 7] [--out drawing.json] [--fast]

Top_p 0.9, a vocabulary from the text world's to Qwen2.5's, probabilities that fall as a power of the rank (exponent
1.6: about 30 tokens in the nucleus) with noise on every logit. The usual way is what `generate(do_sample=True,
top_p=0.9)` runs: `TopPLogitsWarper`, softmax, `torch.multinomial`. Both arms alternate, three tokens a run; the ratio
is the median over pairs of runs.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import TopPLogitsWarper

from _report import alternate, finish, machine, median, parser, ratio, table
from tacit.engines.transformers.logits_processors import Draw, Nucleus

SIZES = ((64, 1_920), (64, 50_257), (32, 151_936), (1, 151_936))
TOP_P, EXPONENT, TOKENS = 0.9, 1.6, 3
NO_IDS = torch.zeros(1, 0, dtype=torch.int64)  # asked for, never read


def main() -> None:
    """Run both arms at every size, print, write JSON."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=7)
    options = made.parse_args()
    sizes, repeats = (((4, 500),), 1) if options.fast else (SIZES, options.repeats)
    device = torch.device(options.device)
    result: dict[str, Any] = {"machine": machine(options.device), "fast": options.fast, "top_p": TOP_P, "sizes": []}
    for rows, vocabulary in sizes:
        scores = some_logits(rows, vocabulary, options.seed).to(device)
        arms = {"usual": usual(options.seed, device), "tacit": ours(options.seed, device)}
        found = alternate({name: run(arm, scores) for name, arm in arms.items()}, repeats)
        result["sizes"].append({
            "rows": rows, "vocabulary": vocabulary, "ms": {name: median(times) for name, times in found.items()},
            "times_faster": ratio(found["usual"], found["tacit"]),
        })  # fmt: skip
    print(f"milliseconds a token of all rows, {options.device}")
    table(
        ["rows", "vocabulary", "usual", "tacit", "times faster"],
        [
            [
                str(one["rows"]), f"{one['vocabulary']:,}", f"{one['ms']['usual']:.1f}", f"{one['ms']['tacit']:.1f}",
                f"{one['times_faster']['median_of_paired']:.1f}",
            ]
            for one in result["sizes"]
        ],
    )  # fmt: skip
    finish(result, options.out)


def some_logits(rows: int, vocabulary: int, seed: int) -> Tensor:
    """Float[rows vocabulary], in another order in every row."""
    generator = torch.Generator().manual_seed(seed)
    ranked = -EXPONENT * torch.arange(1, vocabulary + 1).log() + torch.randn(rows, vocabulary, generator=generator)
    return ranked.gather(1, torch.rand(rows, vocabulary, generator=generator).argsort(1))


def usual(seed: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """As transformers draws: Int64[rows]."""
    warp, generator = TopPLogitsWarper(TOP_P), torch.Generator(device).manual_seed(seed)

    def draw(scores: Tensor) -> Tensor:
        return torch.multinomial(warp(NO_IDS, scores).softmax(-1), 1, generator=generator).squeeze(1)

    return draw


def ours(seed: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """As tacit draws, `generate`'s argmax included: Int64[rows]."""
    nucleus, one = Nucleus(TOP_P), Draw(seed, device)

    def draw(scores: Tensor) -> Tensor:
        return one(NO_IDS, nucleus(NO_IDS, scores)).argmax(1)

    return draw


def run(draw: Callable[[Tensor], Tensor], scores: Tensor) -> Callable[[], float]:
    """Milliseconds a token; the tokens are read, so that a device has finished."""

    def once() -> float:
        draw(scores).tolist()
        started = time.perf_counter()
        for _ in range(TOKENS):
            draw(scores).tolist()
        return (time.perf_counter() - started) / TOKENS * 1000

    return once


if __name__ == "__main__":
    main()
