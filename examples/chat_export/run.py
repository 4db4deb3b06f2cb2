"""From a chat export to a policy, by the command line alone: `python examples/chat_export/run.py`.

The only help the verbs get is `--skip-bad-rows`. Training is cut short (`--set`), so that it takes minutes; the base is
the half-million-weight one that comes with tacit, given a chat template that takes system turns.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from make_log import make_rows

from tacit.worlds.text.base_model import text_base

TEMPLATE = (
    "{% for message in messages %}{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)
QUICK = ["--set", "training.steps=150", "--set", "training.validate_every=50", "--set", "reward.members=1"]
POLICY = ["--set", "training.max_steps=10", "--set", "training.written=0", "--set", "training.eval_users=8"]


def tacit(*words: object) -> str:
    """One verb in a process of its own; what it printed."""
    argv = [str(word) for word in words]
    began = time.perf_counter()
    code = "import sys; from tacit.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False)
    print(f"$ tacit {' '.join(argv)}   ({time.perf_counter() - began:.0f} s)\n{done.stdout}{done.stderr}", flush=True)
    if done.returncode:
        sys.exit(f"tacit {argv[0]} ended with {done.returncode}")
    return done.stdout


def main() -> None:
    """All verbs, one after another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("out/chat_export"))
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "export.json").write_text(json.dumps(make_rows(), ensure_ascii=False), encoding="utf-8")
    base = shutil.copytree(text_base(), out / "base")
    (base / "chat_template.jinja").write_text(TEMPLATE)

    choices, model, ann = out / "choices.parquet", out / "model", out / "ann.json"
    report = json.loads(tacit("import", out / "export.json", "--out", choices, "--skip-bad-rows", "--json"))
    assert (report["rows_read"], report["repeated_choices"]) == (3000, 25), report
    tacit("train-reward", choices, "--out", model, "--embedder", "hash", *QUICK)
    tacit("evaluate", model, choices, "--out", out / "report", "--k", "0,1,5,10")
    tacit("infer", model, choices, "--user", "1000", "--out", ann)
    tacit("infer", model, choices, "--out", out / "everybody.parquet")
    more = [{"prompt": "Tea?", "chosen": "Gladly, thank you so much!", "rejected": "No."}]
    (out / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
    tacit("add", ann, out / "more.jsonl", "--model", model)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How do I boil an egg?"}]
    items = [{"prompt": messages, "response": text} for text in ("Six minutes.", "Well, dear, it depends. 🙂")]
    (out / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    tacit("score", model, "--profile", ann, out / "items.jsonl")
    tacit("explain", model, "--profile", ann, out / "items.jsonl")
    policy = out / "policy"
    tacit("train-policy", choices, "--base", base, "--reward", model, "--out", policy, "--skip-bad-rows", *POLICY)
    (out / "question.json").write_text(json.dumps(messages))
    tacit("generate", policy, "--messages", out / "question.json", "--profile", ann, "--max-new-tokens", 40)
    tacit("export", policy, "--profile", ann, "--out", out / "adapter")


if __name__ == "__main__":
    main()
