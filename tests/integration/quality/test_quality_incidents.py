"""Who is told what: once, of recoveries too, later where it could not be told, by mail and by webhook."""

import pytest

from quality.alerts import notify
from quality.alerts.notify import Event, tell
from quality.scan import scan

pytestmark = pytest.mark.parametrize("edition", ["postgresql"], indirect=True)

INCIDENTS = "select key, closed_at is not null, measured_value, threshold from quality.incident order by id"


@pytest.fixture
def sensor(warehouse, monkeypatch, tmp_path):
    """Two sensors that send, of which one may stop; scanned by one check."""
    series = [warehouse.register(name, interval=300) for name in ("t1", "t2")]
    for one in series:
        warehouse.read(one, begin="1 hour", interval=60)
    (tmp_path / "sending.yml").write_text(
        """
dataset: warehouse/${var.DATABASE}/telemetry/reading
variables:
  DATABASE:
    default: warehouse
columns:
  - name: time
checks:
  - failed_rows:
      name: silent sensors
      attributes:
        series: quality.series_silent
      query: select * from quality.series_silent where failed
"""
    )
    monkeypatch.setenv("QUALITY_CONTRACTS", str(tmp_path))
    return series[0]


def stop(warehouse, series: int) -> None:
    """Let the sensor have been silent for a while."""
    warehouse.execute(
        "delete from telemetry.reading where series_id = %(s)s and time > now() - interval '20 minutes'", s=series
    )


def test_what_fails_is_told_once_and_its_recovery_once(warehouse, sensor, told, mail_sink, post_sink):
    """However many scans see it, one mail and one post tell it, and one each that it is over."""
    scan()
    assert (mail_sink.mails, post_sink.posts) == ([], [])
    stop(warehouse, sensor)
    for _ in range(3):
        assert scan(link="http://127.0.0.1/log").outcome == "failed"
    (mail,), (post,) = mail_sink.mails, post_sink.posts
    assert mail["To"] == "you@example.org, me@example.org"
    assert mail["Subject"] == "[sensor-warehouse] FAILED: t1 temperature: silent sensors"
    text = mail.get_content()
    for part in ("sensor    t1", "measured  1", "at most 900 s without a reading", "look      http://127.0.0.1/log"):
        assert part in text
    (event,) = post["events"]
    assert (event["state"], event["sensor"], event["check"]) == ("open", "t1", "silent sensors")
    assert float(event["measured"]) > 1000
    warehouse.read(sensor, begin="20 minutes", interval=60)
    for _ in range(2):
        assert scan().outcome == "passed"
    assert mail_sink.mails[1]["Subject"] == "[sensor-warehouse] RECOVERED: t1 temperature: silent sensors"
    assert [one["events"][0]["state"] for one in post_sink.posts] == ["open", "recovered"]
    assert (len(mail_sink.mails), len(post_sink.posts)) == (2, 2)
    (row,) = warehouse.execute(INCIDENTS)
    assert row[:2] == (f"quality:sending/silent sensors/{sensor}", True)


def test_what_fails_again_is_news_again(warehouse, sensor, told, mail_sink):
    """A recovery ends an incident: the next failure is another one."""
    for state in ("stop", "send", "stop"):
        if state == "stop":
            stop(warehouse, sensor)
        else:
            warehouse.read(sensor, begin="20 minutes", interval=60)
        scan()
    assert [mail["Subject"].split()[1] for mail in mail_sink.mails] == ["FAILED:", "RECOVERED:", "FAILED:"]


def test_what_could_not_be_told_is_told_later_and_by_nobody_twice(warehouse, sensor, told, mail_sink, post_sink):
    """A mail server that refuses gets the news at the next scan; the webhook, which took it, doesn't again."""
    mail_sink.refuse = True
    stop(warehouse, sensor)
    assert scan().outcome == "failed"
    warehouse.read(sensor, begin="20 minutes", interval=60)
    assert scan().outcome == "passed"
    assert mail_sink.mails == []
    mail_sink.refuse = False
    scan()
    (mail,) = mail_sink.mails
    assert mail["Subject"] == "[sensor-warehouse] 1 failed, 1 recovered"
    assert mail.get_content().index("FAILED: t1") < mail.get_content().index("RECOVERED: t1")
    assert [event["state"] for post in post_sink.posts for event in post["events"]] == ["open", "recovered"]


def test_a_webhook_that_refuses_stops_nothing(warehouse, sensor, told, mail_sink, post_sink):
    """An answer of 503 is no success, changes no outcome, and keeps no mail from being sent."""
    post_sink.refuse = True
    stop(warehouse, sensor)
    assert scan().outcome == "failed"
    assert (len(mail_sink.mails), len(post_sink.posts)) == (1, 0)
    post_sink.refuse = False
    scan()
    assert (len(mail_sink.mails), len(post_sink.posts)) == (1, 1)


def test_no_mail_goes_in_the_clear_unless_that_is_wanted(warehouse, sensor, told, mail_sink, monkeypatch):
    """A server without STARTTLS gets nothing by default; the news waits."""
    monkeypatch.delenv("QUALITY_SMTP_SECURITY")
    stop(warehouse, sensor)
    assert scan().outcome == "failed"
    assert mail_sink.mails == []
    assert warehouse.execute("select untold from quality.incident") == [(["mail"],)]


def test_an_open_incident_is_told_again_when_that_is_wanted(warehouse, sensor, told, mail_sink, monkeypatch):
    """QUALITY_REMIND_HOURS after it was told, and not before."""
    monkeypatch.setenv("QUALITY_REMIND_HOURS", "24")
    stop(warehouse, sensor)
    scan()
    scan()
    assert len(mail_sink.mails) == 1
    warehouse.execute("update quality.incident set told_at = told_at - interval '25 hours'")
    scan()
    scan()
    assert len(mail_sink.mails) == 2


def test_what_nobody_checks_any_more_is_over(warehouse, sensor, told, mail_sink):
    """A sensor that is taken out of the registry leaves no incident open."""
    stop(warehouse, sensor)
    scan()
    warehouse.execute("update telemetry.series set retired_at = now() where series_id = %(s)s", s=sensor)
    scan()
    assert warehouse.execute(INCIDENTS)[0][1:3] == (True, "not checked any more")
    assert mail_sink.mails[1]["Subject"] == "[sensor-warehouse] RECOVERED: t1 temperature: silent sensors"


def test_a_scan_of_one_contract_leaves_the_incidents_of_others(warehouse, sensor, tmp_path):
    """Only what a scan looked at can be over."""
    stop(warehouse, sensor)
    scan()
    (tmp_path / "other.yml").write_text((tmp_path / "sending.yml").read_text().replace("where failed", "limit 0"))
    scan(["other"])
    closed = "select key, closed_at is not null from quality.incident where key like 'quality:sending/%'"
    assert warehouse.execute(closed) == [(f"quality:sending/silent sensors/{sensor}", False)]


def test_tasks_tell_the_same_way(warehouse, told, mail_sink, post_sink):
    """A failed task is told once, its recovery once, and the recovery of what never failed is none."""
    event = {"key": "airflow:build_marts.dbt", "title": "build_marts: task dbt", "link": "http://127.0.0.1/log"}
    tell(Event(**event, state="recovered"))
    tell(Event(**event))
    tell(Event(**event))
    tell(Event(**event, state="recovered"))
    tell(Event(**event, state="recovered"))
    assert [mail["Subject"].split()[1] for mail in mail_sink.mails] == ["FAILED:", "RECOVERED:"]
    assert [event["state"] for post in post_sink.posts for event in post["events"]] == ["open", "recovered"]


def test_without_a_database_people_are_told_all_the_same(warehouse, told, mail_sink, monkeypatch):
    """Nobody knows then what was told before: a failure is told, and nothing is raised."""
    monkeypatch.setenv("PGPORT", "1")
    tell(Event(key="airflow:scan_quality.scan", title="scan_quality: task scan failed"))
    tell(Event(key="airflow:scan_quality.scan", title="scan_quality: task scan", state="recovered"))
    assert [mail["Subject"] for mail in mail_sink.mails] == [
        "[sensor-warehouse] FAILED: scan_quality: task scan failed"
    ]


def test_telling_never_raises(warehouse, monkeypatch, capsys):
    """Neither wrong settings nor a notifier of any kind reach who tells."""
    monkeypatch.setenv("QUALITY_WEBHOOK_URL", "nowhere")
    tell(Event(key="k", title="t"))
    assert "QUALITY_WEBHOOK_URL" in capsys.readouterr().out
    monkeypatch.delenv("QUALITY_WEBHOOK_URL")

    class Broken:
        name = "broken"

        def send(self, events):
            raise RuntimeError("out of paper")

    monkeypatch.setattr(notify, "configured", lambda _: [Broken()])
    tell(Event(key="k", title="t"))
    assert "RuntimeError: out of paper" in capsys.readouterr().out
    assert warehouse.execute("select untold from quality.incident") == [(["broken"],)]


@pytest.mark.parametrize(("days", "scans"), [("", 1), ("0", 2), ("100", 2)])
def test_results_go_after_a_while(warehouse, sensor, monkeypatch, days, scans):
    """After 90 days, unless QUALITY_KEEP_DAYS says otherwise; 0 keeps them for ever."""
    monkeypatch.setenv("QUALITY_KEEP_DAYS", days)
    scan()
    warehouse.execute("update quality.check_result set checked_at = checked_at - interval '91 days'")
    scan()
    assert warehouse.execute("select count(distinct scan_id) from quality.check_result") == [(scans,)]
