"""`portcullis alerts`: from sealed events to real receivers, and the commands of operators."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from standardwebhooks import Webhook
from standardwebhooks.exceptions import WebhookVerificationError

from portcullis.alerts.alert import Alert
from portcullis.alerts.sending import NotTakenError
from portcullis.alerts.services import Service
from portcullis.cli.alert_options import WRITER
from tests.support.alerts import HIDDEN, SECRET, AlertWorld, ago, elsewhere, receiving, reuse
from tests.support.mail_server import mail_server
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.alerts import Receiver

DEAD = f"http://127.0.0.1:{free_port()}/closed"

NOW = 0.01
"""Hours: just now, so that the next pass sees the event."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AlertWorld:
    monkeypatch.chdir(tmp_path)
    return AlertWorld(tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def test_a_finding_reaches_a_webhook_that_verifies_its_signature(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    event = reuse(user="mona", user_id=7)
    world.happen(event)
    assert world.run("run", "--once").exit_code == 0
    [request] = receiver.received
    verified = Webhook(SECRET).verify(request.body, request.headers)
    assert verified["type"] == "alert.raised"
    data = verified["data"]
    assert request.headers["webhook-id"] == f"alert_{data['id']}"
    assert (data["rule"], data["level"], data["subject"]) == ("refresh_token_reuse", "high", "grant_id grant-1")
    assert data["values"]["user"] == {"shown": ["mona"], "count": 1}
    assert data["first"]["time"] == data["last"]["time"] == event["time"]
    assert data["extent"] == ["portcullis audit timeline grant:grant-1"]
    assert data["end"] == ["portcullis grants revoke grant-1", "portcullis users block 7"]
    for text in ("Two programs have tokens of the same", "people: mona", "how sure:", "end it:"):
        assert text in data["text"]


def test_a_receiver_with_another_secret_refuses_the_alert(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    world.happen(reuse())
    world.run("run", "--once")
    [request] = receiver.received
    other = Webhook("whsec_" + "A" * 44)
    with pytest.raises(WebhookVerificationError):
        other.verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body.replace(b"high", b"low"), request.headers)


def test_one_cause_makes_one_alert_and_further_findings_are_counted(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    world.happen(reuse(hours=0.5))
    for _ in range(2):
        world.run("run", "--once")
    world.happen(reuse(hours=NOW), reuse("grant-2", hours=NOW))
    world.run("run", "--once")
    assert [one.data["subject"] for one in receiver.received] == ["grant_id grant-1", "grant_id grant-2"]
    assert {one["subject"]: one["more"] for one in world.listed()["alerts"]} == {
        "grant_id grant-1": 1,
        "grant_id grant-2": 0,
    }


def test_unsealed_events_make_an_alert_once_they_are_sealed(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    world.happen(reuse("first"))
    world.happen(reuse("second", hours=0.6), sealed=False)
    world.run("run", "--once")
    assert [one.data["subject"] for one in receiver.received] == ["grant_id first"]
    world.sealed.seal()
    world.run("run", "--once")
    assert [one.data["subject"] for one in receiver.received] == ["grant_id first", "grant_id second"]


def test_an_unreachable_destination_does_not_stop_another_one(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("dead", DEAD)
    world.webhook("alive", receiver.url)
    world.happen(reuse())
    result = world.run("run", "--once")
    assert result.exit_code == 1
    assert "not everything was taken by: dead" in result.stderr
    assert len(receiver.received) == 1
    [alert] = world.listed()["alerts"]
    assert {one["destination"]: (one["state"], one["attempts"]) for one in alert["deliveries"]} == {
        "dead": ("waiting", 1),
        "alive": ("sent", 1),
    }


def test_an_alert_waits_in_the_outbox_over_restarts_and_keeps_its_id(
    world: AlertWorld, receiver: Receiver
) -> None:
    receiver.status = 503
    world.webhook("hook", receiver.url)
    world.happen(reuse())
    assert world.run("run", "--once").exit_code == 1
    assert "waits until" in world.run("list").stdout
    assert "it answers 503" in world.run("list").stdout
    receiver.status = 204
    [alert] = world.listed()["alerts"]
    assert world.run("resend", alert["id"]).exit_code == 0  # so that it is due now
    assert world.run("run", "--once").exit_code == 0
    assert [one.headers["webhook-id"] for one in receiver.received] == [f"alert_{alert['id']}"] * 2
    assert [one.answered for one in receiver.received] == [503, 204]


def test_an_alert_that_a_receiver_refuses_does_not_delay_the_others(world: AlertWorld, receiver: Receiver) -> None:
    receiver.refuses = b"poison"
    world.webhook("hook", receiver.url)
    world.happen(reuse("poison", hours=0.6), *(reuse(f"grant-{number}") for number in range(3)))
    assert world.run("run", "--once").exit_code == 1
    assert sorted(one.data["subject"] for one in receiver.taken()) == [f"grant_id grant-{n}" for n in range(3)]
    assert [one["state"] for alert in world.listed()["alerts"] for one in alert["deliveries"]].count("sent") == 3


@pytest.mark.parametrize("kind", ["webhook", "service"])
def test_a_pause_requested_by_a_receiver_is_respected(world: AlertWorld, receiver: Receiver, kind: str) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "1200"}
    if kind == "webhook":
        world.webhook("hook", receiver.url)
    else:
        world.service("hook", receiver.url.replace("http:", "json:"))
    world.happen(reuse(), reuse("grant-2"))
    before = datetime.now(UTC)
    assert world.run("run", "--once").exit_code == 1
    assert len(receiver.received) == 1
    waits = {each["attempts"]: each["next"] for one in world.listed()["alerts"] for each in one["deliveries"]}
    # Times of the list have no fractions of seconds.
    assert datetime.fromisoformat(waits[1]) >= before + timedelta(seconds=1199)


def test_a_service_that_never_answers_is_ended_and_leaves_no_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        service = Service(f"json://127.0.0.1:{listening.getsockname()[1]}/", seconds=0.5)
        alert = Alert("0123", "2026-11-30T12:00:00.000000Z", "reuse", "Reuse", "high", "Why.", "", "g", "n")
        with pytest.raises(NotTakenError, match=r"it was ended after 0\.5 seconds"):
            service.send(alert)
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [pid for each in children for pid in each.read_text().split()]
    assert [
        pid for pid in pids if b"portcullis.alerts.services" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ] == []


def test_a_redirect_is_not_followed_and_is_a_failure(world: AlertWorld, receiver: Receiver) -> None:
    receiver.status = 302
    world.webhook("hook", receiver.url)
    world.service("json", receiver.url.replace("http:", "json:") + "?redirect=yes")
    result = world.run("test")
    assert result.exit_code == 1
    assert result.stdout.count("not taken: it answers 302") == 2
    assert {one.path for one in receiver.received} == {f"/{HIDDEN}"}


def test_a_receiver_that_answers_410_gets_no_further_attempt(world: AlertWorld, receiver: Receiver) -> None:
    receiver.status = 410
    world.webhook("hook", receiver.url)
    world.happen(reuse())
    world.run("run", "--once")
    [alert] = world.listed()["alerts"]
    assert [(one["state"], one["fault"]) for one in alert["deliveries"]] == [("failed", "it answers 410")]


def test_an_alert_arrives_as_a_mail_with_the_commands(world: AlertWorld) -> None:
    with mail_server() as box:
        world.service("mail", f"mailto://127.0.0.1:{box.port}?from=gate@example.com&to=ops@example.com")
        world.happen(reuse(user="mona", user_id=7))
        result = world.run("run", "--once")
        assert result.exit_code == 0, result.output
    [mail] = box.mails
    assert mail["To"] == "ops@example.com"
    assert "HIGH: Refresh token used after its successor" in mail["Subject"]
    body = mail.get_body(("plain",)) or mail
    text = body.get_content() if hasattr(body, "get_content") else ""
    assert "portcullis audit timeline grant:grant-1" in text
    assert "portcullis grants revoke grant-1" in text


# -- commands of operators ----------------------------------------------------------------------------------------


def test_a_silenced_rule_sends_nothing_until_the_silence_ends(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    silenced = world.run("silence", "refresh_token_reuse", "--for", "2h", "--reason", "we test a client", "--json")
    assert silenced.exit_code == 0, silenced.output
    world.happen(reuse(hours=0.5))
    world.run("run", "--once")
    listed = world.listed()
    assert receiver.received == []
    assert [one["silence"] for one in listed["alerts"]] == [json.loads(silenced.stdout)["id"]]
    assert [(one["rule"], one["reason"]) for one in listed["silences"]] == [
        ("refresh_token_reuse", "we test a client")
    ]
    assert world.run("unsilence", listed["silences"][0]["id"]).exit_code == 0
    world.happen(reuse(hours=NOW))
    world.run("run", "--once")
    assert len(receiver.received) == 1
    assert world.listed()["silences"] == []


def test_a_silence_of_one_person_covers_no_finding_about_others(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    world.run("silence", "refresh_token_reuse", "--for", "2h", "--reason", "r", "--user", "MONA")
    world.happen(reuse("one", user="mona", user_id=7), reuse("two", user="lisa", user_id=8), reuse("three"))
    world.run("run", "--once")
    assert sorted(one.data["subject"] for one in receiver.received) == ["grant_id three", "grant_id two"]


def test_a_silence_stops_waiting_alerts(world: AlertWorld) -> None:
    world.webhook("dead", DEAD)
    world.happen(reuse())
    world.run("run", "--once")
    result = world.run("silence", "refresh_token_reuse", "--for", "2h", "--reason", "r")
    assert "1 alerts that waited are not sent" in result.stdout
    [alert] = world.listed()["alerts"]
    assert [one["state"] for one in alert["deliveries"]] == ["silenced"]


def test_silences_and_resent_alerts_are_in_the_audit_record_with_the_operator(
    world: AlertWorld, receiver: Receiver
) -> None:
    world.webhook("hook", receiver.url)
    world.happen(reuse())
    world.run("run", "--once")
    world.run("silence", "new_client", "--for", "1h", "--reason", "many new clients today")
    listed = world.listed()
    world.run("unsilence", listed["silences"][0]["id"])
    world.run("resend", listed["alerts"][0]["id"])
    events = world.events("alert.*")
    assert [(one["event"], one["outcome"]) for one in events] == [
        (event, outcome)
        for event in ("alert.silenced", "alert.silence_ended", "alert.resent")
        for outcome in ("intent", "success")
    ]
    assert all(one["operator"] for one in events)
    assert "many new clients today" in events[1]["reason"]
    assert events[1]["key"] == listed["silences"][0]["id"]


def test_a_silence_that_cannot_be_recorded_is_refused(world: AlertWorld) -> None:
    world.webhook("hook", DEAD)
    world.happen(reuse())
    folder = world.audit_dir / "segments" / WRITER
    folder.write_text("a file in the place of the folder", encoding="utf-8")
    result = world.run("silence", "refresh_token_reuse", "--for", "1h", "--reason", "r")
    assert result.exit_code != 0
    assert world.listed()["silences"] == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["silence", "no_such", "--for", "1h", "--reason", "r"], "there is no rule no_such"),
        (["silence", "new_client", "--for", "31d", "--reason", "r"], "at most 30d"),
        (["silence", "new_client", "--for", "0h", "--reason", "r"], "more than 0"),
        (["silence", "new_client", "--for", "soon", "--reason", "r"], "such as 30m, 2h or 7d"),
        (["silence", "new_client", "--for", "1h", "--reason", ""], "--reason must be"),
        (["silence", "new_client", "--for", "1h"], "Missing option '--reason'"),
        (["resend", "0123", "--to", "nowhere"], "there is no destination nowhere"),
        (["test", "nowhere"], "there is no destination nowhere; the settings have hook"),
    ],
)
def test_a_usage_error_is_explained(world: AlertWorld, arguments: list[str], text: str) -> None:
    world.webhook("hook", DEAD)
    result = world.run(*arguments)
    assert result.exit_code == 2
    assert text in result.output


def test_unknown_ids_are_an_error(world: AlertWorld) -> None:
    world.webhook("hook", DEAD)
    for name in ("resend", "unsilence"):
        result = world.run(name, "0123")
        assert result.exit_code == 1
        assert "`portcullis alerts list` has" in result.output


def test_the_test_command_reports_which_destination_accepted_the_alert(
    world: AlertWorld, receiver: Receiver
) -> None:
    world.webhook("dead", DEAD)
    world.webhook("alive", receiver.url)
    result = world.run("test")
    assert result.exit_code == 1
    assert "dead (http://127.0.0.1): not taken: no answer (ConnectError)" in result.stdout
    assert "alive (http://127.0.0.1): taken" in result.stdout
    assert Webhook(SECRET).verify(receiver.received[0].body, receiver.received[0].headers)["type"] == "alert.test"
    assert world.run("test", "alive").exit_code == 0


# -- quiet hours and levels ------------------------------------------------------------------------------------


def test_in_quiet_hours_only_a_critical_alert_is_sent(world: AlertWorld, receiver: Receiver) -> None:
    begin, end = ago(1)[11:16], ago(-2)[11:16]
    world.configure(f'quiet_hours = "{begin}-{end}"')
    world.webhook("hook", receiver.url)
    world.happen(elsewhere(hours=0.5), reuse(hours=0.4))
    assert world.run("run", "--once").exit_code == 0
    assert [one.data["rule"] for one in receiver.received] == ["grant_used_by_two"]
    states = {one["rule"]: one["deliveries"][0]["state"] for one in world.listed()["alerts"]}
    assert states == {
        "grant_used_by_two": "sent",
        "refresh_token_reuse": "waiting",
        "refresh_token_repeated_elsewhere": "waiting",
    }


def test_a_destination_gets_alerts_of_its_level_and_above(world: AlertWorld, receiver: Receiver) -> None:
    with receiving() as pager:
        world.webhook("hook", receiver.url)
        world.webhook("pager", pager.url, 'level = "critical"')
        world.happen(elsewhere(hours=0.5), reuse(hours=0.4))
        world.run("run", "--once")
        assert [one.data["level"] for one in pager.received] == ["critical"]
    assert sorted(one.data["level"] for one in receiver.received) == ["critical", "high", "medium"]


# -- secrets, faults and floods --------------------------------------------------------------------------------


def test_no_command_and_no_file_shows_a_secret(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    world.webhook("dead", f"{DEAD}/{HIDDEN}")
    world.service("json", f"json://someone:{HIDDEN}@127.0.0.1:{free_port()}/{HIDDEN}")
    world.service("slack", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops", 'level = "critical"')
    world.happen(reuse())
    outputs = [world.run(*arguments).output for arguments in (["run", "--once"], ["list"], ["list", "--json"])]
    outputs.append(world.run("test", "hook", "dead", "json").output)
    files = [path.read_bytes() for path in world.root.glob("alerts.sqlite3*")]
    assert "json (json://…)" in outputs[-1]
    for hidden in (HIDDEN, SECRET.removeprefix("whsec_"), "T1JJ3T3L2", "TIiajkdnlazkcOXrIdevi7FQ"):
        assert [text for text in outputs if hidden in text] == []
        assert [text for text in files if hidden.encode() in text] == []


def test_only_its_owner_can_read_the_outbox(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    world.run("list")
    assert world.outbox.stat().st_mode & 0o777 == 0o600


def test_a_thousand_causes_make_few_alerts_and_all_are_counted(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    world.happen(*(reuse(f"grant-{number}") for number in range(1000)))
    world.run("run", "--once")
    assert len(receiver.received) == 11
    summary = receiver.received[-1].data
    [counted] = [one for one in world.listed()["alerts"] if "more than 10 causes" in one["title"]]
    assert summary["extent"] == ["portcullis audit detect --rule refresh_token_reuse --since -1d"]
    assert counted["more"] == 1000 - 11
    assert (counted["causes"], summary["causes"]) == (1000 - 10, 1000 - 10)
    assert "further causes: 990 so far" in summary["text"]
    assert "990 further causes without an alert of their own" in world.run("list").stdout
    world.run("run", "--once")
    assert len(receiver.received) == 11
    assert [one["more"] for one in world.listed()["alerts"] if "more than" in one["title"]] == [1000 - 11]


def test_without_a_checkpoint_the_program_reports_that_it_cannot_read_events(world: AlertWorld) -> None:
    world.webhook("hook", DEAD)
    world.happen(reuse(), sealed=False)
    result = world.run("run", "--once")
    assert result.exit_code == 1
    assert "the rules do not see everything: nothing can be looked at: not sealed: no checkpoint" in result.stderr
    assert "no checkpoint" in world.run("list").stdout


def test_a_text_of_a_caller_changes_no_terminal_and_no_command(world: AlertWorld, receiver: Receiver) -> None:
    world.webhook("hook", receiver.url)
    world.happen(reuse("x; rm -rf /"), reuse("y\x1b[2J"))
    world.run("run", "--once")
    shown = {one.data["subject"]: one.data for one in receiver.received}
    assert shown["grant_id x; rm -rf /"]["end"] == ["portcullis grants revoke 'x; rm -rf /'"]
    assert shown["grant_id y\x1b[2J"]["end"] == []
    assert "\x1b" not in shown["grant_id y\x1b[2J"]["text"]
    assert "\x1b" not in world.run("list").stdout


def chat_url(receiver: Receiver) -> str:
    """A Mattermost server at the receiver: its texts are Markdown, and it accepts 4,000 characters."""
    return f"mmost://{receiver.url.split('/')[2]}/3ccdd113474722377935511fc85d3dd4"


@pytest.mark.parametrize(
    "text",
    [
        "[Sign in again](https://evil.example)",
        "[Sign in again] (https://evil.example)",
        "[Sign in again][evil]",
        "[evil]: https://evil.example",
        "![x](https://evil.example/x.png)",
        "@all",
        "now @channel",
        "x@everyone",
        "@HERE",
        "<!channel>",
        "<https://evil.example|Sign in again>",
        "<@U0123>",
        "<b>bold</b>",
    ],
)
def test_a_text_of_a_caller_is_no_link_and_no_mention_in_a_chat(
    world: AlertWorld, receiver: Receiver, text: str
) -> None:
    receiver.status = 200
    world.service("chat", chat_url(receiver))
    world.happen(reuse(text, client_id=text))
    assert world.run("run", "--once").exit_code == 0
    [request] = receiver.received
    said = json.loads(request.body)["text"]
    assert "clients: " in said
    for markup in (text, "](", "] (", "][", "]:", " @", "@everyone", "<"):
        assert markup not in said


def test_an_address_and_an_account_are_unchanged_in_a_chat(world: AlertWorld, receiver: Receiver) -> None:
    receiver.status = 200
    world.service("chat", chat_url(receiver))
    client = "https://[2001:db8::1]/client.json?a=[b]&c=mona.lisa@allied.example"
    world.happen(reuse(client_id=client))
    world.run("run", "--once")
    assert client in json.loads(receiver.received[0].body)["text"]


def test_an_alert_that_is_too_long_for_a_chat_is_sent_in_parts(world: AlertWorld, receiver: Receiver) -> None:
    receiver.status = 200
    world.service("chat", chat_url(receiver))
    world.happen(
        *(reuse(user=f"{n}" * 256, client_id="c" * 256, service="s" * 256, jti="j" * 256) for n in range(10))
    )
    assert world.run("run", "--once").exit_code == 0
    parts = [json.loads(one.body)["text"] for one in receiver.received]
    assert len(parts) > 1
    assert max(map(len, parts)) <= 4000
    assert "portcullis grants revoke grant-1" in "".join(parts)


def test_without_a_destination_the_list_says_so(world: AlertWorld) -> None:
    assert "No destination is configured" in world.run("list").stdout
    world.webhook("hook", DEAD)
    assert "No destination is configured" not in world.run("list").stdout


@pytest.mark.parametrize(
    ("destination", "fault"),
    [
        ('kind = "webhook"\nurl = "https://a.example/x"', "needs secret_file"),
        ('kind = "webhook"\nsecret_file = "/x"', "exactly one of url and url_file"),
        ('kind = "webhook"\nsecret_file = "/x"\nurl = "http://a.example/"', "https"),
        ('kind = "webhook"\nsecret_file = "/x"\nurl = "https://u:hush@a.example/"', "a user or a password"),
        ('kind = "apprise"\nurl = "json://hush"', "needs url_file"),
        ('kind = "apprise"\nurl_file = "/x"\nsecret_file = "/y"', "secret_file is for a webhook"),
        ('kind = "webhook"\nurl_file = "/does/not/exist"\nsecret_file = "/x"', "No such file"),
    ],
)
def test_an_invalid_destination_is_explained(world: AlertWorld, destination: str, fault: str) -> None:
    world.configure(f'[[alerts.destinations]]\nname = "one"\n{destination}')
    result = world.run("test")
    assert fault in str(result.exception)
    assert "hush" not in str(result.exception)


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_AAAA", "not a secret of forty characters at all....", "whsec_!"]
)
def test_a_secret_of_another_form_is_refused_and_not_shown(world: AlertWorld, text: str) -> None:
    world.webhook("hook", DEAD)
    (world.root / "secret").write_text(text, encoding="utf-8")
    result = world.run("test")
    assert "secret_file" in str(result.exception)
    hidden = text.removeprefix("whsec_")
    assert not hidden or hidden not in str(result.exception)


def test_without_apprise_the_commands_explain_how_to_install_it(
    world: AlertWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "portcullis.alerts.services", raising=False)
    monkeypatch.setitem(sys.modules, "apprise", None)
    world.service("mail", "mailtos://mail.example.com")
    for arguments in (["test"], ["run", "--once"]):
        assert "requirements/audit.txt" in str(world.run(*arguments).exception)


@pytest.mark.parametrize("url", ["mailto://mail.example.com?from=a@example.com", "json://hush.example.com/x"])
def test_a_service_without_tls_on_another_machine_is_refused(world: AlertWorld, url: str) -> None:
    world.service("clear", url)
    result = world.run("test")
    assert "clear text" in str(result.exception)
    assert "example.com" not in str(result.exception)


@contextmanager
def read_only_but_for(audit_dir: Path, own: Path) -> Iterator[None]:
    """The audit folder to read only, except `own`, as containers have it. Skips the test where nothing can be
    mounted.
    """

    def mount(*arguments: str) -> None:
        done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("mounting needs root")

    own.mkdir(parents=True)
    mount("--bind", str(audit_dir), str(audit_dir))
    try:
        mount("-o", "remount,bind,ro", str(audit_dir))
        mount("-t", "tmpfs", "portcullis-test", str(own))
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(own)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(audit_dir)], check=True)


def test_silences_are_recorded_where_only_the_folder_of_their_writer_can_be_written(
    world: AlertWorld, receiver: Receiver
) -> None:
    world.webhook("hook", receiver.url)
    world.happen(reuse())
    assert world.run("run", "--once").exit_code == 0
    [alert] = world.listed()["alerts"]
    with read_only_but_for(world.audit_dir, world.audit_dir / "segments" / WRITER):
        with pytest.raises(OSError, match="Read-only"):
            (world.audit_dir / "x").touch()
        made = world.run("silence", "forged_tokens", "--for", "1h", "--reason", "a test", "--json")
        assert made.exit_code == 0, made.output
        for command in (("unsilence", json.loads(made.stdout)["id"]), ("resend", alert["id"])):
            done = world.run(*command)
            assert done.exit_code == 0, done.output
        for event in ("alert.silenced", "alert.silence_ended", "alert.resent"):
            assert [one["outcome"] for one in world.events(event)] == ["intent", "success"]
