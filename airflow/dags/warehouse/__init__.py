"""Shared by the DAGs: default arguments, service login, failure notifications, dbt build and its results."""
