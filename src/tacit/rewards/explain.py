"""From numbers to what `explain` returns."""

from torch import Tensor

from tacit.rewards.protocol import Explanation

__all__ = ["centred", "explanations"]


def centred(scores: Tensor) -> Tensor:
    """Float[... items] less their mean: what matters is an item against the others."""
    return scores - scores.mean(-1, keepdim=True)


def explanations(shift: Tensor, doubt: Tensor | None) -> list[Explanation]:
    """Per user, items by how far they moved: shift Float[users items], doubt Float[users items] or None."""
    reports = []
    for user in range(len(shift)):
        order = shift[user].abs().argsort(descending=True).tolist()
        rows = [
            {"index": i, "shift": shift[user, i].item(), "doubt": None if doubt is None else doubt[user, i].item()}
            for i in order
        ]
        reports.append({"items": rows})
    return reports
