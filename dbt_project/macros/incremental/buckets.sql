{#- Start of the hour or day (UTC) in which an instant lies. Not date_trunc, which takes seven times as long when it is
    given a zone, and asks for the session's otherwise. -#}
{% macro bucket_of(instant, grain) -%}
    date_bin(interval '{{ bucket_length(grain) }}', {{ instant }}, timestamptz '2000-01-01 00:00:00+00')
{%- endmacro %}


{#- Length of an hour or day as an interval that means the same in every zone: '1 day' has 23 hours in spring. -#}
{% macro bucket_length(grain) -%}
    {{ {'minute': '1 minute', 'hour': '1 hour', 'day': '24 hours'}[grain] }}
{%- endmacro %}


{#- Bounds of what is valid for ever: BI tools and drivers take these, and not infinity. -#}
{% macro beginning() -%} timestamptz '1900-01-01 00:00:00+00' {%- endmacro %}
{% macro end() -%} timestamptz '9999-12-31 00:00:00+00' {%- endmacro %}
