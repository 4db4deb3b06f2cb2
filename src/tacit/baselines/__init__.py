"""Baselines behind the same `PreferenceModel` contract: controls, upper lines, and one file per published method.

A baseline is one file here, or anywhere if it registers itself: a `Method`, `@baselines.register(name)`.
"""

from typing import TYPE_CHECKING, Any

from tacit.lazy import lazy
from tacit.registry import Registry

if TYPE_CHECKING:
    from tacit.baselines.dpl import DPL, PublishedDPL
    from tacit.baselines.gpo import GPO
    from tacit.baselines.knn_users import KNNUsers
    from tacit.baselines.laplace import BayesianLogistic
    from tacit.baselines.lore import LoRe
    from tacit.baselines.method import Method
    from tacit.baselines.mixture import GroupMixture, KnownGroupMixture
    from tacit.baselines.mrm import MRM
    from tacit.baselines.np_btl import NPBTL
    from tacit.baselines.oracle import OracleBTL
    from tacit.baselines.pairwise_gp import PairwiseGP
    from tacit.baselines.pal import PAL
    from tacit.baselines.pooled import PooledBTL
    from tacit.baselines.pref import PReF
    from tacit.baselines.spl import SPL
    from tacit.baselines.vpl import VPL

__all__ = [
    "DPL",
    "GPO",
    "MRM",
    "NPBTL",
    "PAL",
    "SPL",
    "VPL",
    "BayesianLogistic",
    "GroupMixture",
    "KNNUsers",
    "KnownGroupMixture",
    "LoRe",
    "Method",
    "OracleBTL",
    "PReF",
    "PairwiseGP",
    "PooledBTL",
    "PublishedDPL",
    "baselines",
]
__getattr__, __dir__ = lazy(__name__, __file__)

baselines: Registry[Any] = Registry("baseline", "tacit.baselines")
"""Methods of the benchmark by name."""
