"""The audit: do these users disagree, what does personalising buy, and does it pay? It can say no."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.evaluation.audit.config import KS, AuditTraining, check_settings
    from tacit.evaluation.audit.disagreement import Disagreement, repeated_pairs
    from tacit.evaluation.audit.measuring import Measured, Trial, measure, pool
    from tacit.evaluation.audit.minority import Minority, Moved, find_minority
    from tacit.evaluation.audit.pages import write_audit
    from tacit.evaluation.audit.report import Audit
    from tacit.evaluation.audit.run import audit, plan_audit
    from tacit.evaluation.audit.verdict import Estimate, Verdict, decide, supported_k, users_needed

__all__ = [
    "KS",
    "Audit",
    "AuditTraining",
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
__getattr__, __dir__ = lazy(__name__, __file__)
