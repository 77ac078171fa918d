-- Readings arrive nearly in the order of their time, so a BRIN summary per 32 pages finds "all series, the last
-- minutes".
create index reading_time on telemetry.reading using brin (time) with (pages_per_range = 32, autosummarize = on);
