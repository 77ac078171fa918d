comment on table telemetry.birth is
'One row per Sparkplug node or device: its last birth message, which defines the aliases in its data.';
comment on column telemetry.birth.topic is
'MQTT topic of the message: spBv1.0/group/NBIRTH/node, or …/DBIRTH/node/device.';
comment on column telemetry.birth.received_at is 'When it arrived, to the microsecond.';
comment on column telemetry.birth.payload is 'The message as received, in Protocol Buffers.';
