"""Notifications by mail and webhook: once per failure and recovery, and retried after an error."""

import pytest

from quality.alerts import notify as notify_module
from quality.alerts.notify import Alert, notify
from quality.scan import scan

pytestmark = pytest.mark.parametrize("edition", ["postgresql"], indirect=True)

INCIDENTS = "select key, closed_at is not null, measured_value, threshold from quality.incident order by id"


@pytest.fixture
def sensor(warehouse, monkeypatch, tmp_path):
    """The series of the first of two sending sensors, with one contract that checks for silence."""
    series_ids = [warehouse.register(name, interval=300) for name in ("t1", "t2")]
    for series in series_ids:
        warehouse.insert_readings(series, begin="1 hour", interval=60)
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
    return series_ids[0]


def silence(warehouse, series: int) -> None:
    """Delete the readings of the last 20 minutes."""
    warehouse.execute(
        "delete from telemetry.reading where series_id = %(s)s and time > now() - interval '20 minutes'", s=series
    )


def test_failure_and_recovery_are_notified_once(warehouse, sensor, notification_settings, mail_sink, post_sink):
    """Repeated scans of the same failure send one mail and one post, and one each for the recovery."""
    scan()
    assert (mail_sink.mails, post_sink.posts) == ([], [])
    silence(warehouse, sensor)
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
    warehouse.insert_readings(sensor, begin="20 minutes", interval=60)
    for _ in range(2):
        assert scan().outcome == "passed"
    assert mail_sink.mails[1]["Subject"] == "[sensor-warehouse] RECOVERED: t1 temperature: silent sensors"
    assert [sent["events"][0]["state"] for sent in post_sink.posts] == ["open", "recovered"]
    assert (len(mail_sink.mails), len(post_sink.posts)) == (2, 2)
    (row,) = warehouse.execute(INCIDENTS)
    assert row[:2] == (f"quality:sending/silent sensors/{sensor}", True)


def test_second_failure_is_notified_again(warehouse, sensor, notification_settings, mail_sink):
    """A recovery closes the incident: the next failure opens a new one."""
    for state in ("silent", "sending", "silent"):
        if state == "silent":
            silence(warehouse, sensor)
        else:
            warehouse.insert_readings(sensor, begin="20 minutes", interval=60)
        scan()
    assert [mail["Subject"].split()[1] for mail in mail_sink.mails] == ["FAILED:", "RECOVERED:", "FAILED:"]


def test_failed_notification_is_retried_by_its_notifier_only(
    warehouse, sensor, notification_settings, mail_sink, post_sink
):
    """A mail that the server refused is sent after the next scan; the webhook, which succeeded, is not called again."""
    mail_sink.refuse = True
    silence(warehouse, sensor)
    assert scan().outcome == "failed"
    warehouse.insert_readings(sensor, begin="20 minutes", interval=60)
    assert scan().outcome == "passed"
    assert mail_sink.mails == []
    mail_sink.refuse = False
    scan()
    (mail,) = mail_sink.mails
    assert mail["Subject"] == "[sensor-warehouse] 1 failed, 1 recovered"
    assert mail.get_content().index("FAILED: t1") < mail.get_content().index("RECOVERED: t1")
    assert [event["state"] for post in post_sink.posts for event in post["events"]] == ["open", "recovered"]


def test_failing_webhook_affects_nothing_else(warehouse, sensor, notification_settings, mail_sink, post_sink):
    """A response of 503 is retried, changes no outcome, and the mail is sent."""
    post_sink.refuse = True
    silence(warehouse, sensor)
    assert scan().outcome == "failed"
    assert (len(mail_sink.mails), len(post_sink.posts)) == (1, 0)
    post_sink.refuse = False
    scan()
    assert (len(mail_sink.mails), len(post_sink.posts)) == (1, 1)


def test_no_unencrypted_mail_by_default(warehouse, sensor, notification_settings, mail_sink, monkeypatch):
    """A server without STARTTLS gets no mail by default; the notification stays pending."""
    monkeypatch.delenv("QUALITY_SMTP_SECURITY")
    silence(warehouse, sensor)
    assert scan().outcome == "failed"
    assert mail_sink.mails == []
    assert warehouse.execute("select untold from quality.incident") == [(["mail"],)]


def test_reminder_of_an_open_incident(warehouse, sensor, notification_settings, mail_sink, monkeypatch):
    """An open incident is notified again after QUALITY_REMIND_HOURS, and not before."""
    monkeypatch.setenv("QUALITY_REMIND_HOURS", "24")
    silence(warehouse, sensor)
    scan()
    scan()
    assert len(mail_sink.mails) == 1
    warehouse.execute("update quality.incident set told_at = told_at - interval '25 hours'")
    scan()
    scan()
    assert len(mail_sink.mails) == 2


def test_incident_of_a_removed_series_is_closed(warehouse, sensor, notification_settings, mail_sink):
    """A series that is removed from the registry leaves no incident open."""
    silence(warehouse, sensor)
    scan()
    warehouse.execute("update telemetry.series set retired_at = now() where series_id = %(s)s", s=sensor)
    scan()
    assert warehouse.execute(INCIDENTS)[0][1:3] == (True, "no longer checked")
    assert mail_sink.mails[1]["Subject"] == "[sensor-warehouse] RECOVERED: t1 temperature: silent sensors"


def test_a_scan_of_one_contract_leaves_the_incidents_of_others(warehouse, sensor, tmp_path):
    """A scan closes only incidents of the contracts that it ran."""
    silence(warehouse, sensor)
    scan()
    (tmp_path / "other.yml").write_text((tmp_path / "sending.yml").read_text().replace("where failed", "limit 0"))
    scan(["other"])
    closed = "select key, closed_at is not null from quality.incident where key like 'quality:sending/%'"
    assert warehouse.execute(closed) == [(f"quality:sending/silent sensors/{sensor}", False)]


def test_tasks_are_notified_the_same_way(warehouse, notification_settings, mail_sink, post_sink):
    """A failed task is notified once, its recovery once, and a recovery without a failure not at all."""
    fields = {"key": "airflow:build_marts.dbt", "title": "build_marts: task dbt", "link": "http://127.0.0.1/log"}
    notify(Alert(**fields, state="recovered"))
    notify(Alert(**fields))
    notify(Alert(**fields))
    notify(Alert(**fields, state="recovered"))
    notify(Alert(**fields, state="recovered"))
    assert [mail["Subject"].split()[1] for mail in mail_sink.mails] == ["FAILED:", "RECOVERED:"]
    assert [event["state"] for post in post_sink.posts for event in post["events"]] == ["open", "recovered"]


def test_failure_is_notified_without_a_database(warehouse, notification_settings, mail_sink, monkeypatch):
    """Earlier notifications are unknown then: a failure is sent, a recovery is not, and nothing is raised."""
    monkeypatch.setenv("PGPORT", "1")
    notify(Alert(key="airflow:scan_quality.scan", title="scan_quality: task scan failed"))
    notify(Alert(key="airflow:scan_quality.scan", title="scan_quality: task scan", state="recovered"))
    assert [mail["Subject"] for mail in mail_sink.mails] == [
        "[sensor-warehouse] FAILED: scan_quality: task scan failed"
    ]


def test_notify_never_raises(warehouse, monkeypatch, capsys):
    """Invalid settings and any exception of a notifier are logged."""
    monkeypatch.setenv("QUALITY_WEBHOOK_URL", "nowhere")
    notify(Alert(key="k", title="t"))
    assert "QUALITY_WEBHOOK_URL" in capsys.readouterr().out
    monkeypatch.delenv("QUALITY_WEBHOOK_URL")

    class Broken:
        name = "broken"

        def send(self, alerts):
            raise RuntimeError("out of paper")

    monkeypatch.setattr(notify_module, "configured", lambda _: [Broken()])
    notify(Alert(key="k", title="t"))
    assert "RuntimeError: out of paper" in capsys.readouterr().out
    assert warehouse.execute("select untold from quality.incident") == [(["broken"],)]


@pytest.mark.parametrize(("days", "scans"), [("", 1), ("0", 2), ("100", 2)])
def test_old_results_are_deleted(warehouse, sensor, monkeypatch, days, scans):
    """Results are deleted after 90 days or QUALITY_KEEP_DAYS; 0 keeps them forever."""
    monkeypatch.setenv("QUALITY_KEEP_DAYS", days)
    scan()
    warehouse.execute("update quality.check_result set checked_at = checked_at - interval '91 days'")
    scan()
    assert warehouse.execute("select count(distinct scan_id) from quality.check_result") == [(scans,)]
