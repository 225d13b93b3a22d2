"""Messages in voice boxes over TLS (applications 3.4, 3.10)."""

from __future__ import annotations

import datetime
from typing import Any

import pytest_twisted
import sqlalchemy as sa

from ngcpd.store.tables.features import voicemail_box
from ngcpd.store.tables.media import voicemail_message
from tests.web.harness import Web
from tests.web.wavs import tone

ensure = pytest_twisted.ensureDeferred


def leave(web: Web, subscriber_id: int, number: int, **more: Any) -> int:
    """A message as the voice box stores it."""

    def unit(conn: sa.Connection) -> int:
        box = conn.scalar(sa.select(voicemail_box.c.id).where(voicemail_box.c.subscriber_id == subscriber_id))
        left = datetime.datetime(2026, 3, 1, 10, 0, number % 60)
        values = {"box_id": box, "msgnum": number, "caller": "431999", "duration": 5, "received_at": left}
        key = conn.execute(sa.insert(voicemail_message).values(**values | {"audio": tone(), **more})).inserted_primary_key
        assert key is not None
        return int(key[0])

    return web.database.run_here(unit)


def order(web: Web, folder: str) -> list[tuple[int, int]]:
    here = voicemail_message.c.folder == folder
    rows = web.rows(sa.select(voicemail_message.c.id, voicemail_message.c.msgnum).where(here).order_by(voicemail_message.c.msgnum))
    return [tuple(row) for row in rows]


@ensure
async def test_messages_are_listed_moved_heard_and_deleted(web: Web) -> None:
    root = web.client()
    await root.post("/api/domains/", {"domain": "voice.example", "reseller_id": 1})
    who = await web.subscriber(root, await web.customer(root), "voice.example", "ada")
    keys = [leave(web, who, n) for n in range(3)]
    leave(web, who, -1, greeting_type="unavail")
    found = await root.doc(f"/api/voicemails/?subscriber_id={who}")
    assert [i["id"] for i in found["_embedded"]["ngcp:voicemails"]] == keys
    doc = await root.doc(f"/api/voicemails/{keys[0]}")
    shown = {name: doc[name] for name in ("subscriber_id", "folder", "duration", "caller")}
    assert shown == {"subscriber_id": who, "folder": "INBOX", "duration": 5, "caller": "431999"}
    web.notices()
    reply = await root.patch(f"/api/voicemails/{keys[0]}", [{"op": "replace", "path": "/folder", "value": "Old"}])
    assert reply.status == 204 and web.notices() == {("voicemail", str(who))}
    assert order(web, "Old") == [(keys[0], 0)] and order(web, "INBOX")[-2:] == [(keys[1], 0), (keys[2], 1)]
    assert (await root.put(f"/api/voicemails/{keys[2]}", {**doc, "folder": "Old", "caller": "forged", "duration": 999})).status == 204
    assert order(web, "Old") == [(keys[0], 0), (keys[2], 1)]
    assert (await root.doc(f"/api/voicemails/{keys[2]}"))["caller"] == "431999"
    assert (await root.doc("/api/voicemails/?folder=Old"))["total_count"] == 2
    for folder in ("Nowhere", "", None, "inbox"):
        assert (await root.put(f"/api/voicemails/{keys[1]}", {"folder": folder})).status == 422
    reply = await root.get(f"/api/voicemailrecordings/{keys[1]}")
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, "audio/x-wav", tone())
    assert reply.headers["content-disposition"] == f'attachment; filename="voicemailrecordings-{keys[1]}.wav"'
    assert (await root.delete(f"/api/voicemails/{keys[0]}")).status == 204
    assert ("voicemail", str(who)) in web.notices()
    assert order(web, "Old") == [(keys[2], 0)]
    assert (await root.get(f"/api/voicemails/{keys[0]}")).status == (await root.get(f"/api/voicemailrecordings/{keys[0]}")).status == 404
    assert (await root.post("/api/voicemails/", {})).status == 404


@ensure
async def test_a_full_folder_and_foreign_boxes(web: Web) -> None:
    root = web.client()
    await root.post("/api/domains/", {"domain": "voice.example", "reseller_id": 1})
    who = await web.subscriber(root, await web.customer(root), "voice.example", "ada")
    key, greeting = leave(web, who, 0), leave(web, who, -1, greeting_type="busy")
    for n in range(100):
        leave(web, who, n, folder="Work", audio=b"")
    full = await root.put(f"/api/voicemails/{key}", {"folder": "Work"})
    assert full.status == 422 and "field='folder'" in full.json()["message"]
    _, other = await web.reseller("other")
    for path in (f"voicemails/{key}", f"voicemailrecordings/{key}"):
        assert (await other.get(f"/api/{path}")).status == 404
        assert (await root.get(f"/api/{path}")).status == 200
    assert (await other.delete(f"/api/voicemails/{key}")).status == (await other.put(f"/api/voicemails/{key}", {"folder": "Old"})).status == 404
    assert (await other.doc("/api/voicemails/"))["total_count"] == 0
    assert (await root.get(f"/api/voicemailrecordings/{greeting}")).status == 404
    assert (await root.delete(f"/api/subscribers/{who}")).status == 204
    assert (await root.get(f"/api/voicemails/{key}")).status == 404 and web.count(voicemail_message) == 0
