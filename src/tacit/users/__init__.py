"""Users: what is known of somebody under one model, one at a time or many at once, and the files it is kept in."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.users.profiles import find_profile, read_profile, read_profiles, write_profile, write_profiles
    from tacit.users.user import Answer, Moved, User, UserModel
    from tacit.users.users import Users

__all__ = [
    "Answer",
    "Moved",
    "User",
    "UserModel",
    "Users",
    "find_profile",
    "read_profile",
    "read_profiles",
    "write_profile",
    "write_profiles",
]
__getattr__, __dir__ = lazy(__name__, __file__)
