"""Files of UltraFeedback experiments: the examples are good, bad ones are refused in one line."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tacit.errors import ChoiceError, ConfigError
from tacit_experiments.datasets.ultrafeedback_config import read_dataset_config

EXAMPLES = Path(__file__).parents[2] / "examples" / "ultrafeedback"


def write_source(path: Path) -> None:
    """Sixty prompts: two completions on which the types conflict and one that both rate low; then a row that is bad."""
    ratings = {"a": ("5", "3"), "b": ("3", "5"), "c": ("1", "1")}
    rows = [
        {
            "instruction": f"Question {p}?",
            "completions": [
                {"response": text, "annotations": {"helpfulness": {"Rating": h}, "honesty": {"Rating": o}}}
                for text, (h, o) in ratings.items()
            ],
        }
        for p in range(60)
    ]
    rows.append({"instruction": "Bad", "completions": ["text"]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_examples_are_read() -> None:
    found = {path.stem: read_dataset_config(path) for path in sorted(EXAMPLES.glob("*.toml"))}
    assert {name: len(datasets) for name, datasets in found.items()} == {
        "hh": 1, "hh-all": 2, "hh-context": 6, "hh-target": 5, "hht": 1,
    }  # fmt: skip
    assert [d.context_conflict for d in found["hh-context"]] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert [d.target_conflict for d in found["hh-target"]] == [0, 0.25, 0.5, 0.75, 1]
    assert found["hht"][0].objectives == ("helpfulness", "honesty", "truthfulness")
    names = [d.name for datasets in found.values() for d in datasets]
    assert len(set(names)) == len(names)


def test_a_file_of_datasets_makes_tasks_with_its_own_embedder(tmp_path: Path) -> None:
    write_source(tmp_path / "uf.jsonl")
    (tmp_path / "sweep.toml").write_text(
        'kind = "ultrafeedback"\nsource = "uf.jsonl"\nusers = [6, 2, 2]\nchoices = [4, 4]\nks = [0, 4]\n'
        'embedder = "hash"\nskip_bad_rows = true\ntarget_conflict = 0.5\n'
        '[[dataset]]\nname = "a"\ncontext_conflict = 0.25\n'
        '[[dataset]]\nname = "b"\ncontext_conflict = 0.75\n'
    )
    asked = []

    def embed(items: Sequence[tuple[str, str]], embedder: str) -> Tensor:
        asked.append(embedder)
        return torch.zeros(len(items), 2)

    made = [config.make(2, embed) for config in read_dataset_config(tmp_path / "sweep.toml")]
    assert [task.name for task in made] == ["a", "b"]
    assert [task.facts["test context conflict"] for task in made] == [0.25, 0.75]
    assert made[0].ks == (0, 4)
    assert made[0].facts["bad rows"] == 1
    assert asked == ["hash", "hash"]


def test_a_bad_row_stops_a_dataset_unless_told_otherwise(tmp_path: Path) -> None:
    write_source(tmp_path / "uf.jsonl")
    (tmp_path / "one.toml").write_text(GOOD)
    [config] = read_dataset_config(tmp_path / "one.toml")
    with pytest.raises(ChoiceError, match=r"uf\.jsonl: 1 of 61 rows is bad: row 61"):
        config.make(0, lambda items, embedder: torch.zeros(len(items), 2))


GOOD = 'name = "x"\nkind = "ultrafeedback"\nsource = "uf.jsonl"\n'
BAD_FILES = {
    "unknown": (GOOD + "conflict = 1\n", r"dataset 'x': unknown setting conflict; known: name, kind, source"),
    "missing": ('kind = "ultrafeedback"\nsource = "a"', r"dataset '\(no name\)': name is missing"),
    "kind": (GOOD.replace('"ultrafeedback"', '"other"'), "kind is 'other'"),
    "type": (GOOD + 'ties = "perhaps"', "ties is 'perhaps'"),
    "name": (GOOD.replace('"x"', '"../x"'), r"name is '\.\./x'"),
    "range": (GOOD + "context_conflict = 2.0", "dataset 'x': context_conflict is 2.0; expected a share"),
    "toml": ("name = ", "is not valid TOML"),
    "no-list": (GOOD + "dataset = 3", r"write \[\[dataset\]\]"),
    "twice": (GOOD + "[[dataset]]\n[[dataset]]\n", "two datasets are named 'x'"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_of_datasets_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    text, message = BAD_FILES[case]
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_dataset_config(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_datasets_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml cannot be read"):
        read_dataset_config(tmp_path / "no.toml")
