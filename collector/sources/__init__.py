"""Sources of messages: MQTT and Kafka."""
