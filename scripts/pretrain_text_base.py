"""Pretrain the text world's base: a language model of half a million weights that answers its prompts in any style.

    python scripts/pretrain_text_base.py [--out src/tacit/worlds/text/base] [--steps 2500]

Answers are written by the world's own writer, each once, so nothing is memorised but the language. Prints the loss,
and how many sentences of sampled answers are not in the writer's stock. About 25 minutes on two CPU cores.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tacit.files import atomic_folder
from tacit.worlds.text import Style, load_prompts, write
from tacit.worlds.text.reader import read_answer

VOCABULARY, CONTEXT, ROWS, BUCKET = 1920, 384, 64, 16


def main() -> None:
    """Train the tokenizer, the model, save both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("src/tacit/worlds/text/base"))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--rate", type=float, default=5e-3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    tokenizer = train_tokenizer([f"{prompt}\n{answer}" for prompt, answer in answers(20_000, rng)])
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=96, intermediate_size=192, num_hidden_layers=4,
            num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    print(f"{sum(p.numel() for p in model.parameters()):,} weights, {len(tokenizer)} tokens")
    fit(model, tokenizer, options.steps, options.rate, rng)
    with atomic_folder(options.out) as folder:
        model.half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    report(model.float().eval(), tokenizer)


def answers(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Fresh (prompt, answer) texts in styles drawn as the world draws them."""
    prompts = load_prompts()
    drawn = [prompts[i] for i in rng.integers(len(prompts), size=count)]
    return [(prompt.text, write(prompt, Style.draw(rng), rng)) for prompt in drawn]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=ByteLevel.alphabet(), show_progress=False,
        ),
    )  # fmt: skip
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=CONTEXT
    )


def fit(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, rate: float, rng: np.random.Generator
) -> None:
    """AdamW with warm-up and cosine over batches of answers of like length; only answer tokens count."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    started, running = time.time(), 0.0
    step = 0
    while step < steps:
        texts = answers(ROWS * BUCKET, rng)
        rows = [
            ([1, *tokenizer.encode(f"{p}\n", add_special_tokens=False)], tokenizer.encode(a, add_special_tokens=False))
            for p, a in texts
        ]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        for start in rng.permutation(BUCKET) * ROWS:
            if step == steps:
                break
            for group in optimizer.param_groups:
                group["lr"] = rate * min((step + 1) / 200, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            ids, labels = batch(rows[start : start + ROWS])
            loss = model(input_ids=ids, labels=labels, attention_mask=(ids != 0).long()).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            running += loss.item()
            step += 1
            if step % 200 == 0:
                print(f"step {step}: loss {running / 200:.3f} nats a token, {time.time() - started:.0f} s", flush=True)
                running = 0.0


def batch(rows: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels, padded on the right."""
    longest = max(len(prompt) + len(answer) + 1 for prompt, answer in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    labels = torch.full_like(ids, -100)
    for place, (prompt, answer) in enumerate(rows):
        whole = torch.tensor([*prompt, *answer, 2])
        ids[place, : len(whole)] = whole
        labels[place, len(prompt) : len(whole)] = whole[len(prompt) :]
    return ids, labels


@torch.inference_mode()
def report(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Sampled answers: a few to read, and what share of their sentences the writer would not have written."""
    prompts = [prompt.text for prompt in load_prompts()]
    torch.manual_seed(1)
    malformed = sentences = 0
    for number, prompt in enumerate(prompts):
        ids = torch.tensor([[1, *tokenizer.encode(f"{prompt}\n", add_special_tokens=False)]])
        rows = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, max_new_tokens=300,
            num_return_sequences=4, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
        texts = [tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows[:, ids.shape[1] :]]
        for text in texts:
            reading = read_answer(prompt, text)
            malformed += reading.malformed
            sentences += reading.malformed + sum(reading.found.values())
        if number % 13 == 0:
            print(f"- {prompt}\n  {texts[0]}")
    print(f"{malformed} of {sentences} sentences are not in the stock")


if __name__ == "__main__":
    main()
