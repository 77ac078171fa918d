"""The registry ``sensors.json``: schema, sensors and topics, parsing, mistakes, database synchronisation, discovery."""
