"""What every model that is saved must do: come back equal, and refuse what is damaged."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tacit.errors import ModelFormatError
from tacit.testing.models import PreferenceModelConformance
from tacit.testing.samples import refusal

__all__ = ["SavedModelConformance"]

Damage = Callable[[Path], object]


class SavedModelConformance(PreferenceModelConformance):
    """The whole contract of a `PreferenceModel`: in memory, and as a folder of two files.

    A folder holds `config.json` (with a `version`) and `model.safetensors`, both read strictly.
    """

    def test_a_saved_model_gives_the_same_numbers(self, tmp_path: Path) -> None:
        """Bit for bit; states made before are good after, and the other way round."""
        model = self._model()
        folder = tmp_path / "model"
        model.save(folder)
        again = type(model).load(folder)
        choices = self._choices(slots=3)
        before, after = model.infer(choices), again.infer(choices)
        expected = self._beliefs(model, before)
        for one, state in ((again, after), (again, before), (model, after)):
            assert torch.equal(self._beliefs(one, state), expected)
        assert again.has_uncertainty == model.has_uncertainty
        assert again.explain(after, self._items(5)) == model.explain(before, self._items(5))

    def test_saving_again_replaces_the_folder(self, tmp_path: Path) -> None:
        """No file of the old model survives, and no temporary file is left behind."""
        folder = tmp_path / "model"
        self.make(1).save(folder)
        (folder / "stale").write_text("of the old model")
        model = self._model()
        model.save(folder)
        assert not (folder / "stale").exists()
        assert list(tmp_path.iterdir()) == [folder]
        assert torch.equal(self._prior_beliefs(type(model).load(folder)), self._prior_beliefs(model))

    def test_damaged_folders_are_refused(self, tmp_path: Path) -> None:
        """Each with a `ModelFormatError` of one line that names the place."""
        model = self._model()
        sound = tmp_path / "sound"
        model.save(sound)
        for name, damage in DAMAGES.items():
            folder = tmp_path / name
            shutil.copytree(sound, folder)
            damage(folder)
            message = refusal(partial(type(model).load, folder), ModelFormatError)
            assert message, f"{name}: the damaged model was loaded"
            assert "\n" not in message, f"{name}: the message has several lines"
            assert str(folder) in message, f"{name}: the message does not name the folder"

    def _prior_beliefs(self, model: Any) -> Tensor:
        return self._beliefs(model, model.infer(self._choices(0)))


def _tensors(change: Callable[[dict[str, Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return damage


def _config(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def _cut(name: str) -> Damage:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return damage


def _largest(tensors: dict[str, Tensor]) -> str:
    """The name of a weight: every model has at least one floating tensor."""
    return max((name for name, value in tensors.items() if value.is_floating_point()), key=lambda n: tensors[n].numel())


def _fill(tensors: dict[str, Tensor], value: float) -> None:
    tensors[_largest(tensors)].view(-1)[0] = value


def _widen(tensors: dict[str, Tensor]) -> None:
    name = _largest(tensors)
    tensors[name] = torch.cat([tensors[name], tensors[name]])


DAMAGES: dict[str, Damage] = {
    "no_weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no_config": lambda folder: (folder / "config.json").unlink(),
    "cut_weights": _cut("model.safetensors"),
    "cut_config": _cut("config.json"),
    "empty_weights": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "config_of_a_list": lambda folder: (folder / "config.json").write_text("[]"),
    "extra_tensor": _tensors(lambda t: t.update(surprise=torch.zeros(1))),
    "missing_tensor": _tensors(lambda t: t.pop(_largest(t))),
    "tensor_of_another_shape": _tensors(_widen),
    "nan": _tensors(lambda t: _fill(t, float("nan"))),
    "infinity": _tensors(lambda t: _fill(t, float("inf"))),
    "later_version": _config(lambda c: c.update(version=999)),
    "no_version": _config(lambda c: c.pop("version")),
    "extra_key": _config(lambda c: c.update(surprise=1)),
    "another_kind": _config(lambda c: c.update(kind="tacit.other")),
}
"""Ways to damage a saved model, by name: each takes a copy of the folder apart."""
