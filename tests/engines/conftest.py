"""The fixtures are shared by all rooms that have to do with policies."""

from policy_fixtures import (  # noqa: F401
    base,
    base_folder,
    chat_folder,
    engine,
    film_engine,
    gpt2_folder,
    policy,
    reward,
    shared_base,
)
