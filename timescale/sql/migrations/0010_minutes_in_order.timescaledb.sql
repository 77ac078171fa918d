-- Minutes are written in the order of time, so that a day of one series is spread over 1,440 pages. A chunk that is
-- some days old is rewritten once in the order of its series: then the day is on 25 pages. Not the columnstore: one
-- late reading would decompress a thousand minutes of every series.
do $$
declare
    minutes regclass;
begin
    select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass
    into minutes
    from timescaledb_information.continuous_aggregates
    where view_schema = 'telemetry' and view_name = 'reading_1m';

    perform public.set_chunk_time_interval(minutes, interval '1 day');
    perform public.add_reorder_policy(minutes, class.relname)
    from pg_catalog.pg_index as index
    inner join pg_catalog.pg_class as class on index.indexrelid = class.oid
    where index.indrelid = minutes and pg_catalog.pg_get_indexdef(index.indexrelid, 1, true) = 'series_id';
end
$$;
