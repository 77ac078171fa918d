comment on schema telemetry is 'Sensors, their readings and the means over them; written by the collector alone.';

comment on table telemetry.revision is 'One row: the last migration applied; maintained by `timescale migrate`.';
comment on column telemetry.revision.version_num is 'Number of the last migration applied.';

comment on table telemetry.sensor is
'One row per sensor, synchronised with sensors.json; a removed sensor is retired.';
comment on column telemetry.sensor.sensor_id is 'Name of the sensor, unique in the registry.';
comment on column telemetry.sensor.type is 'Kind of sensor: the name under "types" in the registry.';
comment on column telemetry.sensor.site is 'Site of the sensor: building, plant or other place.';
comment on column telemetry.sensor.area is 'Area within the site: room, line, floor.';
comment on column telemetry.sensor.latitude is 'Degrees north, WGS 84.';
comment on column telemetry.sensor.longitude is 'Degrees east, WGS 84.';
comment on column telemetry.sensor.topic is
'MQTT topic it publishes on, or a filter for its topics; of a discovered sensor, the topic of its first message.';
comment on column telemetry.sensor.device is 'Name of the sensor in its payloads or in its topic.';
comment on column telemetry.sensor.discovered is
'Whether it was registered automatically from a message; false: the registry lists it.';
comment on column telemetry.sensor.timezone is
'IANA time zone of times that are sent without one; null: such times are rejected.';
comment on column telemetry.sensor.since is 'Earliest accepted time of its readings.';
comment on column telemetry.sensor.description is 'Purpose of the sensor, as written in the registry.';
comment on column telemetry.sensor.registered_at is 'When it was first seen in the registry.';
comment on column telemetry.sensor.updated_at is 'When its entry in the registry last changed.';
comment on column telemetry.sensor.retired_at is 'When it was removed from the registry; null: in service.';

comment on table telemetry.series is 'One row per sensor and quantity; a changed entry keeps its series_id.';
comment on column telemetry.series.series_id is 'Number by which readings refer to the series; never reused.';
comment on column telemetry.series.sensor_id is 'The sensor that measures.';
comment on column telemetry.series.quantity is 'The measured quantity, such as temperature.';
comment on column telemetry.series.unit is 'UCUM code of the unit of all its values.';
comment on column telemetry.series.minimum is 'Least plausible value; readings below are stored and reported.';
comment on column telemetry.series.maximum is 'Greatest plausible value; readings above are stored and reported.';
comment on column telemetry.series.interval_seconds is 'Expected time between readings, in seconds.';
comment on column telemetry.series.kind is 'number, or boolean: true and false stored as 1 and 0.';
comment on column telemetry.series.registered_at is 'When it was first seen in the registry.';
comment on column telemetry.series.updated_at is 'When its entry in the registry last changed.';
comment on column telemetry.series.retired_at is 'When it was removed from the registry; null: in service.';
