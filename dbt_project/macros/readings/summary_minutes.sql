{#- The interval of fct_interval_summary in minutes, as an expression of SQL over a column that holds the quantity.

    The interval of a single quantity is set in the environment (TEMPERATURE_INTERVAL=5: the quantity's name in capitals, with
    _ for characters other than letters and digits) or in the variable `intervals` ({temperature: 5}); the environment has
    precedence. All other quantities use the variable `interval`. The quantities are read from the database, so a new one
    needs no configuration. -#}
{% macro summary_minutes(column) %}
    {%- set minutes = {} %}
    {%- set configured = var('intervals', {}) %}
    {%- if configured is not mapping %}
        {%- do exceptions.raise_compiler_error(
            "vars: intervals is " ~ configured ~ ": set minutes per quantity, such as {temperature: 5, humidity: 10}.") %}
    {%- endif %}
    {%- for quantity, value in configured.items() %}
        {%- do minutes.update({quantity: whole_minutes("vars: intervals: " ~ quantity, value)}) %}
    {%- endfor %}
    {%- if execute %}
        {%- set known = run_query("select distinct quantity from " ~ source('telemetry', 'series') ~ " order by 1") %}
        {%- for quantity in known.columns[0] %}
            {%- set name = modules.re.sub('[^A-Z0-9]', '_', quantity | upper) ~ '_INTERVAL' %}
            {%- set value = env_var(name, '') %}
            {%- if value %}{% do minutes.update({quantity: whole_minutes(name, value)}) %}{% endif %}
        {%- endfor %}
    {%- endif %}
    {%- set default = whole_minutes("vars: interval", var('interval', 10)) %}
    {%- if not minutes %}{{ return(default | string) }}{% endif %}
    {%- set cases = [] %}
    {%- for quantity, value in minutes.items() %}
        {%- do cases.append("when '" ~ quantity | replace("'", "''") ~ "' then " ~ value) %}
    {%- endfor %}
    {{- return("case " ~ column ~ " " ~ cases | join(' ') ~ " else " ~ default ~ " end") }}
{% endmacro %}


{#- The value as a whole number of minutes from 1 to 1440; anything else is an error that names the setting. -#}
{% macro whole_minutes(setting, value) %}
    {%- set text = value | string | trim %}
    {%- if modules.re.fullmatch('[0-9]{1,4}', text) is none or not 1 <= text | int <= 1440 %}
        {%- do exceptions.raise_compiler_error(
            setting ~ " is '" ~ value ~ "': set whole minutes from 1 to 1440 (a day), such as 10.") %}
    {%- endif %}
    {{- return(text | int) }}
{% endmacro %}
