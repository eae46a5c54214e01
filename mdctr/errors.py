"""The errors that a user can cause, in all parts of the project."""


class UserError(Exception):
    """An error in the user's input; its message says what is wrong, where, and what to do.

    The command line prints the message, without a traceback, and exits with status 2. Any other
    exception is a bug of this project.
    """


class NoRowsError(UserError):
    """A log, or one of its splits, has no rows."""
