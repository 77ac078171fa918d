{#- Fails with every row whose value lies outside [least, most]; null is none of this test's business. -#}
{% test between(model, column_name, least, most) %}
select * from {{ model }} where {{ column_name }} < {{ least }} or {{ column_name }} > {{ most }}
{% endtest %}
