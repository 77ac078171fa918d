"""Where messages come from: MQTT and Kafka."""
