"""The one base error: what a user sees is its text, never a traceback."""


class WarehouseError(Exception):
    """Something a user or operator can mend; the text says what, where and how.

    ``exit_status`` is what a command ends with when this reaches its edge.
    """

    exit_status = 1


class SettingError(WarehouseError):
    """A setting or a file of settings is wrong; nothing has been touched yet."""

    exit_status = 2


class DatabaseError(WarehouseError):
    """The database can't be reached or won't do what was asked."""
