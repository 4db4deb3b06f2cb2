"""Embedding all pairs of 4 responses per prompt: every unique item once against both sides of every pair.

    python experiments/embedding.py [--out embedding.json] [--prompts 16] [--repeats 3] [--threads 2]

A prompt with 4 responses gives 6 pairs, hence 12 texts where 4 are distinct. Two ways of batching: the usual one
(32 texts in the order they come, padded to the longest) and tacit's (sorted by length, batches of a token budget).
Arms run alternately in one process; a ratio is the median over repeats of the ratio within one repeat, of wall time
and of processor time (which other people's jobs on the machine disturb less; with --threads 1 hardly). The model is the
MiniLM encoder where it is installed, else a random BERT of its shape (the arithmetic is the same).
"""

import argparse
import itertools
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tacit.embedders import Item, ItemStore, resolve_embedder
from tacit.embedders.transformer import TransformerEmbedder
from tacit.embedders.windows import combine_windows, token_budget_batches
from tacit.errors import EmbeddingError
from tacit.files import write_json

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
RESPONSES = 4
FIXED_BATCH = 32
MEDIAN_WORDS, SIGMA = 60, 0.8  # chat answers: half under 60 words, one in twenty beyond 220
COMMON = """
the of and to in is that it for was on are as with they be at one have this from or had by but some what there we can
out other were all your when up use word how said an each she which do their time if will way about many then them
would write like so these her long make thing see him two has look more day could go come did my no most who over
"""
WORDS = COMMON.split()


def main() -> None:
    """Run all arms, print the table, write JSON."""
    options = arguments()
    torch.set_num_threads(options.threads)
    embedder, model = load(options.seed)
    rng = np.random.default_rng(options.seed)
    prompts = [text(rng, 20, 0.5) for _ in range(options.prompts)]
    answers = {prompt: [text(rng, MEDIAN_WORDS, SIGMA) for _ in range(RESPONSES)] for prompt in prompts}
    pairs = [(p, a, b) for p in prompts for a, b in itertools.combinations(answers[p], 2)]
    rng.shuffle(pairs)  # choices come as users make them, not sorted by prompt
    sides = [(p, response) for p, a, b in pairs for response in (a, b)]
    unique = list(dict.fromkeys(sides))

    arms: dict[str, Callable[[], object]] = {
        "pairs, fixed": lambda: embed(embedder, sides, fixed_batches),
        "unique, fixed": lambda: embed(embedder, unique, fixed_batches),
        "pairs, bucketed": lambda: embedder.embed(sides),
        "unique, bucketed": lambda: ItemStore.open(None, embedder).add(sides, embedder),
    }
    agree(embedder, sides)
    seconds: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in arms} for clock in CLOCKS}
    for repeat in range(options.repeats):
        for name in list(arms) if repeat % 2 == 0 else list(arms)[::-1]:
            start = {clock: now() for clock, now in CLOCKS.items()}
            arms[name]()
            for clock, now in CLOCKS.items():
                seconds[clock][name].append(now() - start[clock])

    def ratio(slow: str, fast: str) -> dict[str, float]:
        return {
            clock: round(statistics.median(a / b for a, b in zip(taken[slow], taken[fast], strict=True)), 2)
            for clock, taken in seconds.items()
        }

    lengths = {"pairs": token_lengths(embedder, sides), "unique": token_lengths(embedder, unique)}
    padded = {
        f"{items}, {batching}": sum(len(rows) * int(sizes[rows].max()) for rows in cut(sizes, embedder))
        for items, sizes in lengths.items()
        for batching, cut in (("fixed", fixed_batches), ("bucketed", bucketed))
    }
    result = {
        "model": model,
        "machine": {"threads": options.threads, "torch": torch.__version__, "processor": platform.machine()},
        "texts": {"pairs": len(sides), "unique": len(unique)},
        "response_tokens": {q: float(np.quantile(lengths["unique"], float(q))) for q in ("0.05", "0.5", "0.95")},
        "seconds_median": {
            clock: {name: statistics.median(values) for name, values in taken.items()}
            for clock, taken in seconds.items()
        },
        "padded_tokens": padded,
        "real_tokens": {items: int(sizes.sum()) for items, sizes in lengths.items()},
        "ratios": {
            "unique_once_fixed_batches": ratio("pairs, fixed", "unique, fixed"),
            "unique_once_bucketed_batches": ratio("pairs, bucketed", "unique, bucketed"),
            "unique_once_and_bucketing": ratio("pairs, fixed", "unique, bucketed"),
        },
        "repeats": options.repeats,
    }
    report(result)
    if options.out:
        write_json(options.out, result)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where to write the numbers as JSON")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def load(seed: int) -> tuple[TransformerEmbedder, str]:
    """The MiniLM encoder, or a random one of its shape."""
    try:
        embedder, model = resolve_embedder("minilm", device="cpu"), "all-MiniLM-L6-v2"
    except EmbeddingError:
        with tempfile.TemporaryDirectory() as folder:
            save_random_encoder(Path(folder), seed)
            embedder, model = resolve_embedder(folder, device="cpu", max_length=256), "random BERT of MiniLM's shape"
    assert isinstance(embedder, TransformerEmbedder)
    return embedder, model


def save_random_encoder(folder: Path, seed: int) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12}
        BertModel(BertConfig(**shape)).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", *WORDS])}, "[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)


def text(rng: np.random.Generator, median: float, sigma: float) -> str:
    return " ".join(rng.choice(WORDS, max(3, round(rng.lognormal(np.log(median), sigma)))))


def fixed_batches(lengths: np.ndarray, _: TransformerEmbedder) -> list[np.ndarray]:
    """The usual way: so many texts at a time, as they come."""
    return np.array_split(np.arange(len(lengths)), range(FIXED_BATCH, len(lengths), FIXED_BATCH))


def bucketed(lengths: np.ndarray, embedder: TransformerEmbedder) -> list[np.ndarray]:
    return token_budget_batches(lengths, embedder.batch_tokens)


def embed(embedder: TransformerEmbedder, items: list[Item], cut: Callable) -> np.ndarray:
    """What `embedder.embed` does, with batches cut by `cut`."""
    windows, owner, weight = embedder.windows(items)
    batches = cut(np.array([len(window) for window in windows]), embedder)
    return combine_windows(embedder.pooled(windows, batches), owner, weight, len(items))


def token_lengths(embedder: TransformerEmbedder, items: list[Item]) -> np.ndarray:
    """Tokens of every window."""
    return np.array([len(window) for window in embedder.windows(items)[0]])


def agree(embedder: TransformerEmbedder, sides: list[Item]) -> None:
    """Both ways must give the same vectors; also warms up."""
    some = sides[:24]
    one, other = embed(embedder, some, fixed_batches), embed(embedder, some, bucketed)
    np.testing.assert_allclose(one, other, atol=1e-4)


def report(result: dict) -> None:
    print(f"{result['model']}, {result['texts']['pairs']} sides of pairs, {result['texts']['unique']} unique items")
    print(f"{'arm':<20}{'wall s':>10}{'processor s':>14}{'padded tokens':>16}")
    for name, tokens in result["padded_tokens"].items():
        wall, processor = (result["seconds_median"][clock][name] for clock in CLOCKS)
        print(f"{name:<20}{wall:>10.2f}{processor:>14.2f}{tokens:>16,}")
    for name, ratio in result["ratios"].items():
        print(f"{name:<32}{ratio['wall']:>6.2f}x wall, {ratio['processor']:.2f}x processor time")


if __name__ == "__main__":
    main()
