"""Choice models as pure tensor functions, `log_prob` and `sample` each.

Use the modules: `btl.log_prob(chosen, rejected)`.

`choice_log_prob` picks the right one for a padded batch of pairs, ties and rankings.
"""

from tacit.likelihoods import btl, davidson, mean_variance, plackett_luce
from tacit.likelihoods.choice import choice_log_prob

__all__ = ["btl", "choice_log_prob", "davidson", "mean_variance", "plackett_luce"]
