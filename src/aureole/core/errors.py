"""The one exception a user meets when the input is at fault."""


class InputError(ValueError):
    """Bad input, told in one line: what arrived, what was wanted, what to do next.

    The command line prints the message alone and exits with status 2.
    """
