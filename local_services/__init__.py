"""Broker, database server, Airflow and HTTP server started on this machine, for the demonstration and the tests."""
