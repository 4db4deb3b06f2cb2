"""`tacit export`: one user's policy as an ordinary LoRA folder."""

from tacit.cli._options import BaseName, Device, Out, PolicyFolder, Seed, find_policy
from tacit.cli._paths import Overwrite, prepare_out
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli._users import OfUser, OptionalProfile, check_profile

__all__ = ["EXAMPLE", "export"]

EXAMPLE = "tacit export policy/ --profile profile.json --out adapter/"


def export(
    policy: PolicyFolder,
    out: Out,
    profile: OptionalProfile = None,
    user: OfUser = None,
    base: BaseName = None,
    device: Device = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Fold one user's policy into a LoRA folder for stock `peft`, vLLM or SGLang, and check it against the policy.

    Nothing here is random; --seed is taken because every verb takes it.
    """
    out = prepare_out(out, own="adapter_config.json", overwrite=overwrite, whole=True)
    folder = find_policy(policy)
    check_profile(profile, user)
    with progress(f"loading {policy}") as report:
        from tacit.engines import export_adapter
        from tacit.steering import SteerablePolicy

        loaded = SteerablePolicy.load(folder)
        known = loaded.reward.load_user(profile, user) if profile else loaded.reward.user()
        report.phase("checking the adapter against the policy")
        found = export_adapter(loaded, known.state, out, base=base, device=device)
    data = {
        "out": str(out),
        "largest_difference": found.difference,
        "tolerance": found.tolerance,
        "moved": found.moved,
    }
    view = [
        f"stock peft on {base or loaded.base.name}: logits within {found.difference:.1e} of the live policy "
        f"(allowed {found.tolerance:.1e}); the adapter moves them by up to {found.moved:.2g}",
        f"written: {out}",
    ]
    if found.moved < 1000 * found.difference:
        view.insert(1, "the adapter changes hardly anything: this policy treats the user much as the base does")
    return Result(data, view)
