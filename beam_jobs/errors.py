"""The one error that a user's input can cause, in every part of the project."""


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one sentence.

    The command line prints the sentence and exits with status 2; a traceback is never
    shown for it. Anything else that is raised is a fault of this project.
    """
