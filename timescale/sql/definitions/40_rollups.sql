do $$
declare
    level record;
    item record;
begin
    for level in
        select *
        from (values ('1m', 'minute'), ('1h', 'hour'), ('1d', 'day (UTC)')) as levels (suffix, width)
    loop
        execute format(
            'comment on view telemetry.reading_%s is %L',
            level.suffix, format('One row per series and %s in which it has readings.', level.width)
        );
        for item in
            select *
            from (values
                ('bucket', 'Start of the window, in UTC.'),
                ('series_id', 'The measured series: a row of telemetry.series.'),
                ('mean', 'Mean of all values in the window, each reading with the same weight.'),
                ('minimum', 'Least value in the window.'),
                ('maximum', 'Greatest value in the window.'),
                ('first_value', 'Value of the earliest reading in the window.'),
                ('last_value', 'Value of the latest reading in the window.'),
                ('sum_value', 'Sum of the values in the window.'),
                ('sample_count', 'Number of readings in the window.')
            ) as columns (name, meaning)
        loop
            execute format('comment on column telemetry.reading_%s.%I is %L', level.suffix, item.name, item.meaning);
        end loop;
    end loop;
end
$$;
