-- What the columns of all views here mean, each said once.
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
            ('quantity', 'What is measured, such as temperature.'),
            ('unit', 'UCUM code of the unit of its values.'),
            ('kind', 'number, or boolean: true and false stored as 1 and 0.'),
            ('minimum', 'Least plausible value.'),
            ('maximum', 'Greatest plausible value.'),
            ('interval_seconds', 'Expected time between readings, in seconds.'),
            ('updated_at', 'When its entry in the registry last changed.'),
            ('site', 'Where the sensor is.'),
            ('last_time', 'When its newest reading was measured; null: it has none.'),
            ('last_value', 'Value of its newest reading.'),
            ('silent_seconds', 'Seconds since its newest reading, or since it was registered where it has none.'),
            (
                'is_live',
                'Whether a reading of the last day that it has readings of came in time; false: they are loaded from files.'
            ),
            ('silent_after_seconds', 'Seconds without a reading after which the series is silent (telemetry.threshold).'),
            ('flat_after_seconds', 'Seconds without a change before which its line is not flat (telemetry.threshold).'),
            ('measured_value', 'What was measured; in seconds, as a share, or in the unit of the series.'),
            ('threshold', 'What would be well, in words.'),
            ('failed', 'Whether it is not well; null: it can not be told.'),
            ('reason', 'Why it can not be told.'),
            ('bucket', 'Start of the hour or day, in UTC.'),
            ('raw_count', 'How many raw readings there are.'),
            ('minute_count', 'How many readings telemetry.reading_1m counts.'),
            ('hour_count', 'How many readings telemetry.reading_1h counts.'),
            ('day_count', 'How many readings telemetry.reading_1d counts.')
        ) as columns (name, meaning)
        inner join pg_catalog.pg_attribute as attribute on columns.name = attribute.attname
        inner join pg_catalog.pg_class as class on attribute.attrelid = class.oid
        where class.relnamespace = 'quality'::regnamespace and class.relkind = 'v'
    loop
        execute format('comment on column quality.%I.%I is %L', item.view_name, item.name, item.meaning);
    end loop;
end
$$;
