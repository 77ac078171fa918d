"""The base error of the product: commands print its text, never a traceback."""


class WarehouseError(Exception):
    """An error that a user or operator can fix; the text has the problem, the place and the fix.

    A command that raises it ends with ``exit_status``.
    """

    exit_status = 1


class SettingError(WarehouseError):
    """A setting or a configuration file is invalid; nothing has been changed yet."""

    exit_status = 2


class DatabaseError(WarehouseError):
    """The database can't be reached or refused an operation."""
