"""Where a modulator acts: the `forward` of a base's module, and around it what the users of the moment change."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tacit.errors import ConfigError
from tacit.steering.modulator import Change, Modulator

__all__ = ["Now", "Place", "Signals", "nobody", "unsteered"]


class _Nobody(threading.local):
    """Whether this thread is within `unsteered`."""

    now = False


nobody = _Nobody()


@contextmanager
def unsteered(*, end: bool = False) -> Iterator[None]:
    """Within the block no policy steers anything in this thread, whichever shares a base; `end` ends such a block."""
    before, nobody.now = nobody.now, not end
    try:
        yield
    finally:
        nobody.now = before


class Signals:
    """Whom a forward pass is for: signals, laid out for its rows once and kept while their number stays."""

    _change: Change

    def __init__(self, modulator: Modulator, signals: Tensor, groups: Sequence[Sequence[int]]) -> None:
        self._modulator, self._signals, self._groups = modulator, signals, groups
        self._rows, self._differentiable = 0, False

    def change(self, rows: Tensor) -> Change:
        """For as many rows as `rows` has."""
        if self._rows != rows.shape[0] or self._differentiable != torch.is_grad_enabled():
            self._lay_out(rows)
        return self._change

    def _lay_out(self, inputs: Tensor) -> None:
        rows, users = inputs.shape[0], self._signals.shape[1]
        if rows % users:
            raise ConfigError(f"{rows} rows for {users} users; expected a z for every row, or equally many rows a user")
        signals = self._signals if rows == users else self._signals.repeat_interleave(rows // users, 1)
        self._rows, self._differentiable = rows, torch.is_grad_enabled()
        if self._differentiable:
            self._change = self._modulator.changes(signals)
        else:  # what is laid out without gradients never gets any
            self._change = self._modulator.serve(signals, self._groups, inputs.dtype)


_JOINING = threading.Lock()  # steerings of one base may come and go in several threads


class Now(threading.local):
    """What one steering is at in this thread; no signals, nothing to change."""

    signals: Signals | None = None


class Place:
    """The `forward` of a module that is a site: its own, and around it the changes of every steering at work.

    In place of hooks, since a part is to run before the module: entering a forward hook behind a large map costs more
    than the change itself (`docs/log.md`). Several steerings of a model share the place; the last to go takes it away.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module, self._plain = module, module.forward
        self._steerings: list[tuple[Now, int]] = []

    @classmethod
    def join(cls, module: nn.Module, now: Now, number: int) -> "Place":
        """The one that the module has, or now gets, with one more steering, for which it is the site of that number."""
        with _JOINING:
            found = vars(module).get("forward")
            if not isinstance(found, cls):
                module.forward = found = cls(module)
            found._steerings = [*found._steerings, (now, number)]
        return found

    def leave(self, now: Now) -> None:
        """Of a steering that goes; where somebody has since put another `forward` around this one, it stays, idle."""
        with _JOINING:
            self._steerings = [(other, number) for other, number in self._steerings if other is not now]
            if not self._steerings and vars(self._module).get("forward") is self:
                del self._module.forward
                if self._module.forward != self._plain:  # somebody else's was there before
                    self._module.forward = self._plain

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """What the module puts out, changed for whoever this thread is at."""
        at_work = [(signals, number) for now, number in self._steerings if (signals := now.signals) is not None]
        if not at_work or nobody.now:
            return self._plain(*args, **settings)
        inputs = args[0] if args else next(value for value in settings.values() if isinstance(value, Tensor))
        changes = [
            (change := signals.change(inputs), number, change.read(number, inputs)) for signals, number in at_work
        ]
        output = self._plain(*args, **settings)
        first = output[0] if isinstance(output, tuple) else output
        for change, number, noted in changes:
            first = change.write(number, noted, first)
        return (first, *output[1:]) if isinstance(output, tuple) else first
