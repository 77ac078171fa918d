{#- What has changed since a model was last built. docs/decisions/0007-incremental-marts.md says why this is exact.

    A model takes part with four things:

        {{ config(
            materialized='incremental', incremental_strategy='append',
            pre_hook="{{ forget_changed('hour', grain='hour') }}",
        ) }}
        … where bucket >= {{ changed_from('hour') }}
        {% if is_incremental() %} union all … join changed_hour using (series_id, bucket) … {% endif %}

    and, from dbt_project.yml, the post-hook note_built(). -#}


{#- Where the states are kept: one row a model, until when it knows everything. -#}
{% macro build_state() -%}
    intermediate.build_state
{%- endmacro %}


{#- Creates the table of states, and lets scans read it; on-run-start of whatever builds. -#}
{% macro prepare_build_state() %}
    {%- if execute and flags.WHICH in ('build', 'run', 'snapshot', 'seed', 'retry', 'clone') %}
        {%- if run_query("select to_regclass('" ~ build_state() ~ "')").columns[0][0] is none %}
create schema if not exists intermediate;
create table if not exists {{ build_state() }} (model text primary key, built_until timestamptz not null);
comment on table {{ build_state() }} is 'Internal: until when each model knows all that was written; kept by dbt.';
comment on column {{ build_state() }}.model is 'Name of the model or snapshot.';
comment on column {{ build_state() }}.built_until is
'What was committed before this is in the model; for a model on others, the least of theirs and its own.';
        {%- endif %}
do $$
begin
    -- Contracts ask how old a mart is, and until when it knows everything.
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


{#- Until when this model knows everything, as text of SQL; none when it must be built whole. -#}
{% macro built_until() %}
    {%- if execute and is_incremental() %}
        {%- set found = run_query(
            "select to_char(built_until at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00' from "
            ~ build_state() ~ " where model = '" ~ model.name ~ "'"
        ) %}
        {%- if found.rows %}{{ return(found.columns[0][0]) }}{% endif %}
    {%- endif %}
    {{- return(none) }}
{% endmacro %}


{#- The bucket (hour, day …) from which on this model computes everything again, as a constant of SQL: the planner needs
    one to leave out the chunks before it. Three hours back: late_hour holds what came more than two hours late, and a
    transaction may have been open for up to an hour. '-infinity' when the model is built whole. -#}
{% macro changed_from(grain='hour') %}
    {%- set since = built_until() %}
    {%- if since is none %}
        {{- return("timestamptz '-infinity'") }}
    {%- endif %}
    {%- set found = run_query(
        "select to_char(date_trunc('" ~ grain ~ "', timestamptz '" ~ since ~ "' - interval '3 hours', 'UTC')"
        ~ " at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || '+00'"
    ) %}
    {{- return("timestamptz '" ~ found.columns[0][0] ~ "'") }}
{% endmacro %}


{#- For pre-hooks: makes the temporary table changed_hour (series_id, bucket), the hours before changed_from(grain) that
    have got late readings since; one set for all statements of the build, whatever is noted meanwhile. -#}
{% macro take_changed_hours(grain='hour') %}
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


{#- For pre-hooks: take_changed_hours, and removes from this model every bucket that is to be computed again. bucket is
    the model's column with the start of the bucket, a timestamptz. -#}
{% macro forget_changed(bucket, grain='hour', series='series_id') %}
    {%- if is_incremental() %}
{{ take_changed_hours(grain) }}
delete from {{ this }} where {{ bucket }} >= {{ changed_from(grain) }};
delete from {{ this }} as old
using (select distinct series_id, date_trunc('{{ grain }}', bucket, 'UTC') as bucket from changed_hour) as changed
where old.{{ series }} = changed.series_id and old.{{ bucket }} = changed.bucket;
    {%- endif %}
{% endmacro %}


{#- For post-hooks: notes in the model's own transaction until when it knows everything. That is the start of this
    transaction, or an earlier state of a model or snapshot that it is built from: built alone, a model learns no more
    than they know. -#}
{% macro note_built() %}
    {%- if execute and model.config.materialized not in ('view', 'ephemeral') %}
        {%- if flags.EMPTY %}
delete from {{ build_state() }} where model = '{{ model.name }}'
        {%- else %}
            {%- set ancestors = model.depends_on.nodes | list %}
            {#- The list grows while it is gone through. -#}
            {%- for ancestor in ancestors if ancestor in graph.nodes %}
                {%- for parent in graph.nodes[ancestor].depends_on.nodes if parent not in ancestors %}
                    {%- do ancestors.append(parent) %}
                {%- endfor %}
            {%- endfor %}
insert into {{ build_state() }} as kept (model, built_until)
select
    '{{ model.name }}',
    least(now(), min(built_until))
from {{ build_state() }}
where model in ('' {%- for ancestor in ancestors if ancestor in graph.nodes %}, '{{ graph.nodes[ancestor].name }}'{% endfor %})
on conflict (model) do update set built_until = excluded.built_until
        {%- endif %}
    {%- endif %}
{% endmacro %}


{#- Operation: deletes notes of late hours that every incremental model has seen, a week after the last has.
    `dbt run-operation forget_late_hours`; needed only where the table grows too large. -#}
{% macro forget_late_hours() %}
    {%- if run_query("select to_regclass('" ~ build_state() ~ "')").columns[0][0] is none %}
        {%- do log('notes of late hours deleted: 0; nothing has been built here yet', info=true) %}
        {{- return('') }}
    {%- endif %}
    {%- set models = graph.nodes.values() | selectattr('config.materialized', 'equalto', 'incremental') | list %}
    {%- set gone = run_query(
        "with gone as (delete from " ~ source('telemetry', 'late_hour') ~ " where noted_at < (select min(built_until)"
        ~ " - interval '7 days' from " ~ build_state() ~ " where model in ('"
        ~ models | map(attribute='name') | join("', '") ~ "')) returning 1) select count(*) from gone"
    ) %}
    {%- do run_query('commit') %}
    {%- do log('notes of late hours deleted: ' ~ gone.columns[0][0], info=true) %}
{% endmacro %}
