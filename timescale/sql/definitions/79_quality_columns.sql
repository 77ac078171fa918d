-- The comments of the columns of all views of this schema, each stated once.
do $$
declare
    item record;
begin
    for item in
        select
            class.relname as view_name,
            columns.*
        from (values
            ('series_id', 'Number of the series in telemetry.series.'),
            ('sensor_id', 'The sensor that measures.'),
            ('quantity', 'The measured quantity, such as temperature.'),
            ('unit', 'UCUM code of the unit of its values.'),
            ('kind', 'number, or boolean: true and false stored as 1 and 0.'),
            ('minimum', 'Least plausible value.'),
            ('maximum', 'Greatest plausible value.'),
            ('interval_seconds', 'Expected time between readings, in seconds.'),
            ('updated_at', 'When its entry in the registry last changed.'),
            ('site', 'Site of the sensor.'),
            ('last_time', 'Time of its newest reading; null: it has none.'),
            ('last_value', 'Value of its newest reading.'),
            ('silent_seconds', 'Seconds since its newest reading; since its registration if it has none.'),
            (
                'is_live',
                'Whether its newest readings come from a broker, whatever their delay; false: they are loaded from files.'
            ),
            ('silent_after_seconds', 'Seconds without a reading after which the series is silent (telemetry.threshold).'),
            ('flat_after_seconds', 'Seconds without a change before which its line is not flat (telemetry.threshold).'),
            ('measured_value', 'Measured value: seconds, a share, or a value in the unit of the series.'),
            ('threshold', 'Values that pass, in words.'),
            ('failed', 'Whether the check fails; null: it cannot be evaluated.'),
            ('reason', 'Why it cannot be evaluated.'),
            ('bucket', 'Start of the hour or day, in UTC.'),
            ('raw_count', 'Number of raw readings.'),
            ('minute_count', 'Number of readings in telemetry.reading_1m.'),
            ('hour_count', 'Number of readings in telemetry.reading_1h.'),
            ('day_count', 'Number of readings in telemetry.reading_1d.')
        ) as columns (name, meaning)
        inner join pg_catalog.pg_attribute as attribute on columns.name = attribute.attname
        inner join pg_catalog.pg_class as class on attribute.attrelid = class.oid
        where class.relnamespace = 'quality'::regnamespace and class.relkind = 'v'
    loop
        execute format('comment on column quality.%I.%I is %L', item.view_name, item.name, item.meaning);
    end loop;
end
$$;
