comment on table telemetry.birth is
'One row a Sparkplug node or device: its last birth, which says what the aliases in its data mean.';
comment on column telemetry.birth.topic is 'MQTT topic it came on: spBv1.0/group/NBIRTH/node, or …/DBIRTH/node/device.';
comment on column telemetry.birth.received_at is 'When it arrived, to the microsecond.';
comment on column telemetry.birth.payload is 'The message as it came, in Protocol Buffers.';
