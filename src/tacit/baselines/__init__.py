"""Baselines behind the same `PreferenceModel` contract: the pooled control, the oracle, and DPL."""

from tacit.baselines.dpl import DPL, PublishedDPL, fit_dpl
from tacit.baselines.oracle import OracleBTL, fit_oracle
from tacit.baselines.pooled import PooledBTL, fit_pooled

__all__ = ["DPL", "OracleBTL", "PooledBTL", "PublishedDPL", "fit_dpl", "fit_oracle", "fit_pooled"]
