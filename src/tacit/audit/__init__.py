"""The audit: do these users disagree, what does personalising buy, and does it pay? It can say no."""

from tacit.audit.audit import KS, audit, check_settings, plan_audit
from tacit.audit.disagreement import Disagreement, repeated_pairs
from tacit.audit.measure import Measured, Trial, measure, pool
from tacit.audit.minority import Minority, Moved, find_minority
from tacit.audit.pages import write_audit
from tacit.audit.report import Audit
from tacit.audit.verdict import Estimate, Verdict, decide, supported_k, users_needed

__all__ = [
    "KS",
    "Audit",
    "Disagreement",
    "Estimate",
    "Measured",
    "Minority",
    "Moved",
    "Trial",
    "Verdict",
    "audit",
    "check_settings",
    "decide",
    "find_minority",
    "measure",
    "plan_audit",
    "pool",
    "repeated_pairs",
    "supported_k",
    "users_needed",
    "write_audit",
]
