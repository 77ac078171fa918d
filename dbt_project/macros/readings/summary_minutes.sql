{#- The interval of fct_interval_summary in minutes, as an expression of SQL over a column that holds the quantity.

    Said for a quantity by the environment (TEMPERATURE_INTERVAL=5: the quantity's name in capitals, other characters than
    letters and digits as _), or by the variable `intervals` ({temperature: 5}); the environment wins. Every other
    quantity has the variable `interval`. Which quantities there are is asked from the database, so a new one needs no
    mention anywhere. -#}
{% macro summary_minutes(column) %}
    {%- set minutes = {} %}
    {%- set wanted = var('intervals', {}) %}
    {%- if wanted is not mapping %}
        {%- do exceptions.raise_compiler_error(
            "vars: intervals is " ~ wanted ~ ": write minutes by quantity, such as {temperature: 5, humidity: 10}.") %}
    {%- endif %}
    {%- for quantity, value in wanted.items() %}
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
    {%- set usual = whole_minutes("vars: interval", var('interval', 10)) %}
    {%- if not minutes %}{{ return(usual | string) }}{% endif %}
    {%- set cases = [] %}
    {%- for quantity, value in minutes.items() %}
        {%- do cases.append("when '" ~ quantity | replace("'", "''") ~ "' then " ~ value) %}
    {%- endfor %}
    {{- return("case " ~ column ~ " " ~ cases | join(' ') ~ " else " ~ usual ~ " end") }}
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
