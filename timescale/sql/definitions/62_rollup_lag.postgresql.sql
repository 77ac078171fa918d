-- The means are updated in the transaction that stores the readings.
create or replace view telemetry.rollup_lag as
select
    level,
    0::double precision as lag_seconds
from (values ('1m'), ('1h'), ('1d')) as levels (level);
