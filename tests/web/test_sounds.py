"""Sound sets and their files over TLS (applications 1)."""

from __future__ import annotations

import struct
from typing import Any
from urllib.parse import urlencode

import pytest_twisted
import sqlalchemy as sa

from ngcpd.provisioning import audio
from ngcpd.store import blobs
from ngcpd.store.tables.media import sound_file, sound_file_piece
from ngcpd.store.tables.preferences import preference_value
from tests.web.harness import Client, Reply, Web
from tests.web.wavs import riff, tone

ensure = pytest_twisted.ensureDeferred
WAV = "audio/x-wav"


async def sound_set(root: Client, **more: Any) -> int:
    return (await root.post("/api/soundsets/", {"reseller_id": 1, "name": "set", **more})).id


async def upload(root: Client, data: bytes, kind: str = WAV, method: str = "POST", key: str = "", **query: Any) -> Reply:
    return await root.raw(method, f"/api/soundfiles/{key}?{urlencode(query)}", data, Content_Type=kind)


def samples(wav: bytes) -> list[int]:
    return [s for (s,) in struct.iter_unpack("<h", audio.read(wav).data)]


@ensure
async def test_files_are_converted_replaced_and_downloaded(web: Web) -> None:
    root = web.client()
    key = await sound_set(root)
    made = await upload(root, tone(44100, seconds=0.5, channels=2), set_id=key, handle="cf_loop", filename="loop.WAV", loopplay="true")
    assert (made.status, made.body) == (201, b"")
    doc = await root.doc(f"/api/soundfiles/{made.id}")
    shown = {name: value for name, value in doc.items() if name not in ("_links", "id")}
    assert shown == {"set_id": key, "handle": "cf_loop", "group": "early_rejects", "filename": "loop.wav", "loopplay": True}
    assert doc["_links"]["ngcp:soundfilerecordings"]["href"] == f"/api/soundfilerecordings/{made.id}"
    reply = await root.get(f"/api/soundfilerecordings/{made.id}")
    assert (reply.status, reply.headers["content-type"]) == (200, WAV)
    assert reply.headers["content-disposition"] == 'attachment; filename="loop.wav"'
    pcm = audio.read(reply.body)
    assert (pcm.rate, pcm.channels, pcm.width) == (8000, 1, 2) and abs(len(pcm.data) // 2 - 4000) < 3
    head = await root.raw("HEAD", f"/api/soundfilerecordings/{made.id}")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(reply.body)))
    web.notices()
    again = await upload(root, tone(hertz=500), set_id=key, handle="cf_loop", filename="new.wav")
    assert again.id == made.id and web.count(sound_file) == 1
    assert ("sound_set", str(key)) in web.notices()
    new = (await root.get(f"/api/soundfilerecordings/{made.id}")).body
    assert samples(new) == samples(tone(hertz=500))
    doc = await root.doc(f"/api/soundfiles/{made.id}")
    assert (doc["filename"], doc["loopplay"]) == ("new.wav", False)
    changed = await upload(root, tone(hertz=700), method="PUT", key=str(made.id), set_id=key, handle="cf_loop", filename="x.wav", loopplay=1)
    assert changed.status == 204
    assert (await root.doc(f"/api/soundfiles/?set_id={key}"))["_embedded"]["ngcp:soundfiles"]["loopplay"] is True
    assert (await root.raw("PATCH", f"/api/soundfiles/{made.id}", b"[]", Content_Type="application/json-patch+json")).status == 404
    assert (await root.delete(f"/api/soundfiles/{made.id}")).status == 204
    assert (await root.get(f"/api/soundfilerecordings/{made.id}")).status == 404
    assert web.count(sound_file_piece) == 0


@ensure
async def test_music_on_hold_of_a_system_set_is_kept_as_alaw(web: Web) -> None:
    root = web.client()
    customer = await web.customer(root)
    system, own = await sound_set(root), await sound_set(root, customer_id=customer)
    ids = [(await upload(root, tone(), set_id=key, handle="music_on_hold", filename="moh.wav")).id for key in (system, own)]
    kept = web.rows(sa.select(sound_file.c.codec, sound_file.c.filename, sound_file.c.size).order_by(sound_file.c.id))
    assert [tuple(row) for row in kept] == [("PCMA", "moh.pcma", 1600), ("WAV", "moh.wav", 3244)]
    data = web.database.read_here(blobs.get, sound_file_piece, ids[0])
    assert data == audio.to_alaw(audio.read(tone()).data)
    for key in ids:
        reply = await root.get(f"/api/soundfilerecordings/{key}")
        assert reply.headers["content-disposition"] == 'attachment; filename="moh.wav"'
        assert all(abs(a - b) <= 512 for a, b in zip(samples(reply.body), samples(tone()), strict=True))


@ensure
async def test_which_handles_a_set_may_have(web: Web) -> None:
    root = web.client()
    customer = await web.customer(root)
    system, own = await sound_set(root), await sound_set(root, customer_id=customer)
    allowed = {"early_rejects": (1, 0), "pbx": (0, 1), "music_on_hold": (1, 1), "digits": (1, 1), "conference": (1, 0), "play_balance": (1, 0)}
    for group, expected in allowed.items():
        found = (await root.doc(f"/api/soundhandles/?group={group}&rows=1"))["_embedded"]["ngcp:soundhandles"]
        for key, ok in zip((system, own), expected, strict=True):
            reply = await upload(root, tone(), set_id=key, handle=found["handle"], group=group, filename="f.wav")
            assert reply.status == (201 if ok else 422), (group, key, reply)
            if not ok:
                assert "field='handle'" in reply.json()["message"]
    # The same name in two groups: the first one unless said otherwise.
    one = await upload(root, tone(), set_id=system, handle="units", filename="u.wav")
    two = await upload(root, tone(), set_id=system, handle="units", group="play_balance", filename="u.wav")
    assert one.id != two.id
    assert (await root.doc(f"/api/soundfiles/{one.id}"))["group"] == "voucher_recharge"
    # A file cannot be moved onto another one, nor a set with such files be given to a customer.
    moved = await upload(root, tone(), method="PUT", key=str(one.id), set_id=system, handle="units", group="play_balance", filename="u.wav")
    assert moved.status == 422
    doc = await root.doc(f"/api/soundsets/{system}")
    given = await root.put(f"/api/soundsets/{system}", {**doc, "customer_id": customer, "name": "other"})
    assert given.status == 422 and "field='customer_id'" in given.json()["message"]


@ensure
async def test_what_is_refused(web: Web) -> None:
    root = web.client()
    key = await sound_set(root)
    right: dict[str, Any] = {"set_id": key, "handle": "cf_loop", "filename": "a.wav"}
    for body in (b"RIFF", b"ID3 music", riff(b""), riff(b"\0\0", rate=0), riff(b"\0\0", channels=5), riff(b"\0\0", bits=12), riff(b"\0\0", kind=3)):
        reply = await upload(root, body, **right)
        assert reply.status == 422 and "field='data'" in reply.json()["message"], (body, reply)
    assert (await upload(root, b"", **right)).status == 400
    for kind in ("audio/mpeg", "application/json", "text/plain", ""):
        assert (await upload(root, tone(), kind, **right)).status == 415
    assert (await upload(root, bytes((1 << 20) + 1), "audio/mpeg", **right)).status == 413
    assert (await upload(root, bytes((64 << 20) + 1), **right)).status == 413
    for name in right:
        reply = await upload(root, tone(), **{k: v for k, v in right.items() if k != name})
        assert reply.status == 422 and f"field='{name}'" in reply.json()["message"]
    for name, value in (("handle", "nonsense"), ("set_id", 99999), ("set_id", "x"), ("loopplay", "maybe"), ("group", "pbx"), ("filename", "x" * 256)):
        assert (await upload(root, tone(), **{**right, name: value})).status == 422, name
    assert (await upload(root, tone(), method="PUT", key="9999", **right)).status == 404
    assert web.count(sound_file) == web.count(sound_file_piece) == 0
    made = await upload(root, tone(), **right)
    reseller, other = await web.reseller("other")
    assert (await upload(other, tone(), **right)).status == 422
    assert (await upload(other, tone(), method="PUT", key=str(made.id), **right)).status == 404
    for path in ("soundfiles", "soundfilerecordings"):
        assert (await other.get(f"/api/{path}/{made.id}")).status == 404
    assert (await other.delete(f"/api/soundfiles/{made.id}")).status == 404
    assert (await other.doc("/api/soundfiles/"))["total_count"] == 0
    mine = (await other.post("/api/soundsets/", {"name": "mine"})).id
    assert (await upload(other, tone(), **{**right, "set_id": mine})).status == 201
    assert (await root.doc(f"/api/soundsets/{mine}"))["reseller_id"] == reseller


@ensure
async def test_too_many_large_bodies_at_a_time_are_turned_away(web: Web) -> None:
    root = web.client()
    key = await sound_set(root)
    room = web.site.room
    room.most = 2 << 20
    reply = await upload(root, bytes(4 << 20), set_id=key, handle="cf_loop", filename="a.wav")
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert room.held == 0
    assert (await upload(root, tone(), set_id=key, handle="cf_loop", filename="a.wav")).status == 201


@ensure
async def test_sound_handles(web: Web) -> None:
    root = web.client()
    found = await root.doc("/api/soundhandles/?rows=200")
    items = found["_embedded"]["ngcp:soundhandles"]
    assert found["total_count"] == len(items) == len({(i["group"], i["handle"]) for i in items}) == 123
    named = {i["id"]: (i["group"], i["handle"]) for i in items}
    for key, expected in {
        1: ("early_rejects", "block_in"),
        22: ("early_rejects", "no_credit"),
        20: ("music_on_hold", "music_on_hold"),
        28: ("calling_card", "credits_successfully_transfered"),
        59: ("pbx", "office_hours"),
        74: ("pbx", "queue_waiting_music"),
        69: ("play_balance", "cents"),
        85: ("digits", "1-and"),
        112: ("digits", "100"),
        113: ("conference", "conference_greeting"),
        123: ("conference", "conference_max_participants"),
        124: ("malicious_call_identification", "malicious_call_report"),
    }.items():
        assert named[key] == expected
    assert not {114, 125} & set(named)
    assert (await root.doc("/api/soundhandles/20"))["handle"] == "music_on_hold"
    assert (await root.get("/api/soundhandles/114")).status == 404
    assert (await root.doc("/api/soundhandles/?group=digits"))["total_count"] == 38


@ensure
async def test_the_default_set_of_a_customer(web: Web) -> None:
    root = web.client()
    customer = await web.customer(root)
    await root.post("/api/domains/", {"domain": "voice.example", "reseller_id": 1})
    old = await web.subscriber(root, customer, "voice.example", "old")
    one = await sound_set(root, customer_id=customer, name="one", contract_default=True)
    new = await web.subscriber(root, customer, "voice.example", "new")

    async def shown(key: int) -> str | None:
        found: str | None = (await root.doc(f"/api/subscriberpreferences/{key}")).get("contract_sound_set")
        return found

    assert [await shown(old), await shown(new)] == [None, "one"]
    two = await sound_set(root, customer_id=customer, name="two")
    patch = [{"op": "replace", "path": "/contract_default", "value": True}]
    assert (await root.patch(f"/api/soundsets/{two}", patch)).status == 204
    assert [await shown(old), await shown(new)] == ["two", "two"]
    assert (await root.doc(f"/api/soundsets/{one}"))["contract_default"] is False
    assert (await root.delete(f"/api/soundsets/{two}")).status == 204
    assert [await shown(old), await shown(new)] == [None, None]
    assert web.rows(sa.select(preference_value).where(preference_value.c.attribute == "contract_sound_set")) == []
    # A set that goes to another customer is not that of the first one's subscribers any more.
    assert (await root.patch(f"/api/subscriberpreferences/{old}", [{"op": "add", "path": "/contract_sound_set", "value": "one"}])).status == 204
    other = await web.customer(root)
    assert (await root.patch(f"/api/soundsets/{one}", [{"op": "replace", "path": "/customer_id", "value": other}])).status == 204
    assert await shown(old) is None


@ensure
async def test_openapi_names_the_media_types(web: Web) -> None:
    document = await web.client().doc("/api/openapi.json")
    post = document["paths"]["/api/soundfiles/"]["post"]
    assert list(post["requestBody"]["content"]) == [WAV]
    assert {"set_id", "handle", "filename", "loopplay"} <= {p["name"] for p in post["parameters"]}
    assert "data" not in document["components"]["schemas"]["soundfiles"]["properties"]
    assert list(document["paths"]["/api/soundfilerecordings/{id}"]["get"]["responses"]["200"]["content"]) == [WAV]
