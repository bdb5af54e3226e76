"""The one exception for mistakes a user can mend: what was wrong, where, and what would work, in one line."""


class MultiresError(Exception):
    """Bad input. Its text is one line that says what is wrong, where, and what would work."""
