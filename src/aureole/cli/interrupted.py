"""How a command ends after Ctrl-C when it has something to keep."""


class Interrupted(Exception):  # noqa: N818  (no error: the user asked for it)
    """Ctrl-C came and what was done is written; the message says what that is. Exit status 130."""
