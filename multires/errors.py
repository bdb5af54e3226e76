"""The one exception for mistakes a user can mend: what was wrong, where, and what would work, in one line; others in a line too."""


class MultiresError(Exception):
    """Bad input. Its text is one line that says what is wrong, where, and what would work."""


def summary(error: BaseException) -> str:
    """The type of an exception and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
