"""Baselines behind the same `PreferenceModel` contract: controls, upper lines, and one file per published method."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.baselines.dpl import DPL, PublishedDPL, fit_dpl
    from tacit.baselines.gpo import GPO, GPOConfig, GPONetwork, fit_gpo
    from tacit.baselines.knn_users import KNNConfig, KNNNetwork, KNNUsers, fit_knn_users
    from tacit.baselines.laplace import BayesianLogistic, LaplaceConfig, LaplaceNetwork, fit_laplace
    from tacit.baselines.lore import LoRe, LoReConfig, LoReNetwork, fit_lore
    from tacit.baselines.mixture import (
        GroupMixture,
        KnownGroupMixture,
        MixtureConfig,
        MixtureNetwork,
        fit_mixture,
        fit_mixture_known,
    )
    from tacit.baselines.mrm import MRM, PUBLISHED_INNER, MRMConfig, MRMNetwork, fit_mrm
    from tacit.baselines.oracle import OracleBTL, fit_oracle
    from tacit.baselines.pairwise_gp import GPConfig, GPNetwork, PairwiseGP, fit_pairwise_gp
    from tacit.baselines.pal import PAL, PALConfig, PALNetwork, fit_pal
    from tacit.baselines.pooled import PooledBTL, fit_pooled
    from tacit.baselines.pref import PReF, PReFConfig, PReFNetwork, fit_pref
    from tacit.baselines.spl import SPL, SPLConfig, SPLNetwork, fit_spl
    from tacit.baselines.vpl import VPL, VPLConfig, VPLNetwork, fit_vpl

__all__ = [
    "DPL",
    "GPO",
    "MRM",
    "PAL",
    "PUBLISHED_INNER",
    "SPL",
    "VPL",
    "BayesianLogistic",
    "GPConfig",
    "GPNetwork",
    "GPOConfig",
    "GPONetwork",
    "GroupMixture",
    "KNNConfig",
    "KNNNetwork",
    "KNNUsers",
    "KnownGroupMixture",
    "LaplaceConfig",
    "LaplaceNetwork",
    "LoRe",
    "LoReConfig",
    "LoReNetwork",
    "MRMConfig",
    "MRMNetwork",
    "MixtureConfig",
    "MixtureNetwork",
    "OracleBTL",
    "PALConfig",
    "PALNetwork",
    "PReF",
    "PReFConfig",
    "PReFNetwork",
    "PairwiseGP",
    "PooledBTL",
    "PublishedDPL",
    "SPLConfig",
    "SPLNetwork",
    "VPLConfig",
    "VPLNetwork",
    "fit_dpl",
    "fit_gpo",
    "fit_knn_users",
    "fit_laplace",
    "fit_lore",
    "fit_mixture",
    "fit_mixture_known",
    "fit_mrm",
    "fit_oracle",
    "fit_pairwise_gp",
    "fit_pal",
    "fit_pooled",
    "fit_pref",
    "fit_spl",
    "fit_vpl",
]
__getattr__, __dir__ = lazy(__name__, __file__)
