{#- Start of the minute, hour or day (UTC) that contains an instant. Not date_trunc: with a zone it takes seven times as
    long, and without one it uses the zone of the session. -#}
{% macro bucket_of(instant, grain) -%}
    date_bin(interval '{{ bucket_length(grain) }}', {{ instant }}, timestamptz '2000-01-01 00:00:00+00')
{%- endmacro %}


{#- Length of a bucket as an interval that means the same in every zone: '1 day' has 23 hours in spring. -#}
{% macro bucket_length(grain) -%}
    {{ {'minute': '1 minute', 'hour': '1 hour', 'day': '24 hours'}[grain] }}
{%- endmacro %}


{#- First and last bound of validity. Not infinity: BI tools and drivers do not accept it. -#}
{% macro beginning() -%} timestamptz '1900-01-01 00:00:00+00' {%- endmacro %}
{% macro end() -%} timestamptz '9999-12-31 00:00:00+00' {%- endmacro %}
