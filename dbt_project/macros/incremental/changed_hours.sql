{#- Which hours have changed since a model was last built. docs/decisions/0007-incremental-marts.md explains why the result
    is exact.

    An incremental model needs four things:

        {{ config(
            materialized='incremental', incremental_strategy='append',
            pre_hook="{{ delete_changed_buckets('hour', grain='hour') }}",
        ) }}
        … where bucket >= {{ changed_from('hour') }}
        {% if is_incremental() %} union all … join changed_hour using (series_id, bucket) … {% endif %}

    and, from dbt_project.yml, the post-hook record_built_until(). -#}


{#- The table that holds, per model, the instant up to which everything written is in the model. -#}
{% macro build_state() -%}
    intermediate.build_state
{%- endmacro %}


{#- Creates that table and lets quality scans read it; runs at the start of every command that builds. -#}
{% macro prepare_build_state() %}
    {%- if execute and flags.WHICH in ('build', 'run', 'snapshot', 'seed', 'retry', 'clone') %}
        {%- if run_query("select to_regclass('" ~ build_state() ~ "')").columns[0][0] is none %}
create schema if not exists intermediate;
create table if not exists {{ build_state() }} (model text primary key, built_until timestamptz not null);
comment on table {{ build_state() }} is
'Internal: one row per model, the instant up to which everything written is in the model; maintained by dbt.';
comment on column {{ build_state() }}.model is 'Name of the model or snapshot.';
comment on column {{ build_state() }}.built_until is
'The model contains everything committed before this; for a model on other models, the minimum of theirs and its own.';
        {%- endif %}
do $$
begin
    -- Contracts check how old a mart is and up to when it is complete.
    if exists (select from pg_catalog.pg_roles where rolname = 'quality_scanner')
        and not (
            has_schema_privilege('quality_scanner', 'intermediate', 'usage')
            and has_table_privilege('quality_scanner', '{{ build_state() }}', 'select')
        )
    then
        grant usage on schema intermediate to quality_scanner;
        grant select on {{ build_state() }} to quality_scanner;
    end if;
end
$$;
    {%- endif %}
{% endmacro %}


{#- The instant up to which this model is complete, as text of SQL; none when it must be built whole. -#}
{% macro built_until() %}
    {%- if execute and is_incremental() %}
        {%- set state = run_query(
            "select to_char(built_until at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00' from "
            ~ build_state() ~ " where model = '" ~ model.name ~ "'"
        ) %}
        {%- if state.rows %}{{ return(state.columns[0][0]) }}{% endif %}
    {%- endif %}
    {{- return(none) }}
{% endmacro %}


{#- The first bucket that this model always computes again, as a constant of SQL: the planner needs a constant to exclude
    the chunks before it. It lies closed_after (telemetry.threshold) before the last build: telemetry.late_hour contains
    what came more than two hours late, and a transaction may have been open for up to an hour. '-infinity' when the model
    is built whole. -#}
{% macro changed_from(grain='hour') %}
    {%- set state = built_until() %}
    {%- if state is none %}
        {{- return("timestamptz '-infinity'") }}
    {%- endif %}
    {%- set bucket = run_query(
        "select to_char(date_trunc('" ~ grain ~ "', timestamptz '" ~ state ~ "' - closed_after, 'UTC')"
        ~ " at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || '+00' from telemetry.threshold"
    ) %}
    {{- return("timestamptz '" ~ bucket.columns[0][0] ~ "'") }}
{% endmacro %}


{#- For pre-hooks: creates the temporary table changed_hour (series_id, bucket), the hours before changed_from(grain) that
    got late readings since the last build. All statements of the build use this one set; hours noted meanwhile wait for
    the next build. -#}
{% macro create_changed_hours(grain='hour') %}
    {%- if is_incremental() %}
create temporary table changed_hour on commit drop as
select
    series_id,
    bucket
from {{ source('telemetry', 'late_hour') }}
where
    noted_at >= timestamptz '{{ built_until() or "-infinity" }}' - interval '1 hour'
    and bucket < {{ changed_from(grain) }};
create unique index on changed_hour (series_id, bucket);
analyze changed_hour;
    {%- endif %}
{% endmacro %}


{#- For pre-hooks: create_changed_hours, and deletes from this model every bucket that is computed again. bucket is the
    model's column with the start of the bucket, a timestamptz. -#}
{% macro delete_changed_buckets(bucket, grain='hour', series='series_id') %}
    {%- if is_incremental() %}
{{ create_changed_hours(grain) }}
delete from {{ this }} where {{ bucket }} >= {{ changed_from(grain) }};
delete from {{ this }} as old
using (select distinct series_id, date_trunc('{{ grain }}', bucket, 'UTC') as bucket from changed_hour) as changed
where old.{{ series }} = changed.series_id and old.{{ bucket }} = changed.bucket;
    {%- endif %}
{% endmacro %}


{#- For post-hooks: records, in the model's own transaction, up to when it is complete. That is the start of this
    transaction, or the earlier state of a model or snapshot that it is built from: built alone, a model contains no more
    than they do. -#}
{% macro record_built_until() %}
    {%- if execute and model.config.materialized not in ('view', 'ephemeral') %}
        {%- if flags.EMPTY %}
delete from {{ build_state() }} where model = '{{ model.name }}'
        {%- else %}
            {%- set ancestors = model.depends_on.nodes | list %}
            {#- The list grows during the loop. -#}
            {%- for ancestor in ancestors if ancestor in graph.nodes %}
                {%- for parent in graph.nodes[ancestor].depends_on.nodes if parent not in ancestors %}
                    {%- do ancestors.append(parent) %}
                {%- endfor %}
            {%- endfor %}
insert into {{ build_state() }} as state (model, built_until)
select
    '{{ model.name }}',
    least(now(), min(built_until))
from {{ build_state() }}
where model in ('' {%- for ancestor in ancestors if ancestor in graph.nodes %}, '{{ graph.nodes[ancestor].name }}'{% endfor %})
on conflict (model) do update set built_until = excluded.built_until
        {%- endif %}
    {%- endif %}
{% endmacro %}


{#- Operation: deletes the notes of late hours that every incremental model has processed, a week after the last of them.
    `dbt run-operation forget_late_hours`; needed only where the table grows too large. -#}
{% macro forget_late_hours() %}
    {%- if run_query("select to_regclass('" ~ build_state() ~ "')").columns[0][0] is none %}
        {%- do log('notes of late hours deleted: 0; nothing has been built here yet', info=true) %}
        {{- return('') }}
    {%- endif %}
    {%- set models = graph.nodes.values() | selectattr('config.materialized', 'equalto', 'incremental') | list %}
    {%- set deleted = run_query(
        "with deleted as (delete from " ~ source('telemetry', 'late_hour') ~ " where noted_at < (select min(built_until)"
        ~ " - interval '7 days' from " ~ build_state() ~ " where model in ('"
        ~ models | map(attribute='name') | join("', '") ~ "')) returning 1) select count(*) from deleted"
    ) %}
    {%- do run_query('commit') %}
    {%- do log('notes of late hours deleted: ' ~ deleted.columns[0][0], info=true) %}
{% endmacro %}
