"""What the tests of the policy's verbs share: settings for a run of seconds."""

QUICK = (
    "training.max_steps=4", "training.eval_steps=2", "training.per_device_train_batch_size=4",
    "training.max_context=4", "training.eval_users=4", "training.learning_rate=0.01",
)  # fmt: skip
SHORT = [part for setting in QUICK for part in ("--set", setting)]
FILM = ["--set", "policy.modulator.kind=film"]
