"""Session descriptions: reading, keeping, refusing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.media.sdp import MAX_BYTES, BadSdp, Connection, Origin, Sdp, numeric

FULL = (
    b"v=0\r\no=alice 2890844526 2890844527 IN IP4 host.example.com\r\ns=\xe4\xff odd\r\ni=info\r\nu=http://x\r\ne=a@b\r\np=+1\r\n"
    b"c=IN IP4 192.0.2.9\r\nb=CT:128\r\nt=0 0\r\nr=7d 1h\r\nz=1 1\r\nk=clear:x\r\na=tool:\x01weird\r\na=recvonly\r\nq=unknown type\r\n"
    b"m=audio 49170 RTP/AVP 0 8\r\ni=sound\r\nb=AS:64\r\na=rtpmap:0 PCMU/8000\r\na=rtcp:53020 IN IP4 192.0.2.10\r\na=sendrecv\r\n"
    b"m=video 0 RTP/AVP 31\r\nc=IN IP6 2001:db8::5\r\na=rtcp-mux\r\n"
    b"m=message 7654 TCP/MSRP *\r\na=path:msrp://x:7654/a;tcp\r\n"
)


def test_what_is_read_is_written_byte_for_byte() -> None:
    assert Sdp.parse(FULL).to_bytes() == FULL


def test_fields() -> None:
    sdp = Sdp.parse(FULL)
    assert sdp.origin == Origin("alice", "2890844526", "2890844527", "IN", "IP4", "host.example.com")
    audio, video, message = sdp.media
    assert (audio.kind, audio.port, audio.proto, audio.formats) == ("audio", 49170, "RTP/AVP", "0 8")
    assert sdp.connection_of(audio) == Connection("IN", "IP4", "192.0.2.9")
    assert sdp.connection_of(video) == Connection("IN", "IP6", "2001:db8::5")
    assert audio.rtcp is not None and audio.rtcp.port == 53020
    assert audio.rtcp.connection == Connection("IN", "IP4", "192.0.2.10")
    assert (sdp.direction_of(audio), sdp.direction_of(video), sdp.direction_of(message)) == ("sendrecv", "recvonly", "recvonly")
    assert (audio.rtcp_mux, video.rtcp_mux) == (False, True)
    assert video.port == 0 and video.rtcp is None


def test_bare_line_feeds_and_missing_last_line_end_are_read() -> None:
    assert Sdp.parse(FULL.replace(b"\r\n", b"\n").rstrip(b"\n")).to_bytes() == FULL
    assert Sdp.parse(FULL + b"\r\n\r\n").to_bytes() == FULL


def test_direction_defaults_to_both_ways() -> None:
    sdp = Sdp.parse(b"v=0\no=- 1 1 IN IP4 1.1.1.1\ns=-\nc=IN IP4 1.1.1.1\nt=0 0\nm=audio 9 RTP/AVP 0\n")
    assert sdp.direction_of(sdp.media[0]) == "sendrecv"
    sdp.media[0].set_direction("inactive")
    assert sdp.direction_of(sdp.media[0]) == "inactive"


def test_a_new_connection_line_goes_where_it_belongs() -> None:
    sdp = Sdp.parse(FULL)
    new = Connection("IN", "IP6", "::1")
    for media in sdp.media:
        media.connection = new
    sdp.session.connection = new
    text = sdp.to_bytes().decode("latin-1")
    assert "p=+1\r\nc=IN IP6 ::1\r\nb=CT" in text
    assert "i=sound\r\nc=IN IP6 ::1\r\nb=AS" in text
    assert "m=video 0 RTP/AVP 31\r\nc=IN IP6 ::1\r\na=rtcp-mux" in text
    assert "m=message 7654 TCP/MSRP *\r\nc=IN IP6 ::1\r\na=path" in text
    assert text.count("c=IN") == 4
    lone = Sdp.parse(b"v=0\no=- 1 1 IN IP4 1.1.1.1\ns=-\nt=0 0\nm=audio 9 RTP/AVP 0\n")
    lone.session.connection = new
    lone.media[0].connection = new
    assert lone.to_bytes() == b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\nc=IN IP6 ::1\r\n"


def test_further_connection_and_rtcp_lines_are_dropped_when_replaced() -> None:
    sdp = Sdp.parse(b"v=0\no=- 1 1 IN IP4 1.1.1.1\ns=-\nt=0 0\nm=audio 9 RTP/AVP 0\nc=IN IP4 1.1.1.1\nc=IN IP4 1.1.1.2\na=rtcp:1\na=rtcp:2\n")
    sdp.media[0].connection = Connection("IN", "IP4", "9.9.9.9")
    sdp.media[0].set_rtcp(77, None)
    assert sdp.media[0].lines == ["m=audio 9 RTP/AVP 0", "c=IN IP4 9.9.9.9", "a=rtcp:77"]


HEAD = b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nc=IN IP4 1.1.1.1\r\nt=0 0\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"hello",
        b"v=1\r\n",
        b"v=0\r\n",
        b"v=0\r\ns=-\r\n",
        b"v=0\r\no=- 1 1 IN IP4\r\n",
        b"v=0\r\no=- 1  1 IN IP4 1.1.1.1\r\n",
        HEAD + b"o=- 1 1 IN IP4 1.1.1.1\r\n",
        HEAD + b"m\r\n",
        HEAD + b"m=\r\n",
        HEAD + b"m=audio\r\n",
        HEAD + b"m=audio 1 RTP/AVP\r\n",
        HEAD + b"m=audio x RTP/AVP 0\r\n",
        HEAD + b"m=audio -1 RTP/AVP 0\r\n",
        HEAD + b"m=audio 65536 RTP/AVP 0\r\n",
        HEAD + b"m=audio " + b"9" * 9999 + b" RTP/AVP 0\r\n",
        HEAD + "m=audio ٣ RTP/AVP 0\r\n".encode(),
        HEAD + b"m=audio 5/x RTP/AVP 0\r\n",
        HEAD + b"m=audio 5 RTP/AVP 0\r\nc=IN IP4\r\n",
        HEAD + b"m=audio 5 RTP/AVP 0\r\nc=IN IP4 ::1\r\n",
        HEAD + b"m=audio 5 RTP/AVP 0\r\na=rtcp:\r\n",
        HEAD + b"m=audio 5 RTP/AVP 0\r\na=rtcp:x\r\n",
        HEAD + b"m=audio 5 RTP/AVP 0\r\na=rtcp:5 IN\r\n",
        HEAD + b"\r\nm=audio 5 RTP/AVP 0\r\n",
        HEAD + b"a=x\rm=audio 5 RTP/AVP 0\r\n",
        HEAD + b"a=x\x00\r\n",
        HEAD + b" continued\r\n",
        HEAD + b"M=audio 5 RTP/AVP 0\r\n",
        HEAD + b"m=audio 5 RTP/AVP 0\r\n" * 33,
        HEAD + b"a=" + b"x" * MAX_BYTES,
    ],
)
def test_malformed_is_refused(body: bytes) -> None:
    with pytest.raises(BadSdp):
        Sdp.parse(body)


def test_every_prefix_is_read_or_refused() -> None:
    for n in range(len(FULL)):
        try:
            Sdp.parse(FULL[:n])
        except BadSdp:
            continue


def test_numeric_addresses() -> None:
    assert numeric("192.0.2.1") == "192.0.2.1"
    assert numeric("2001:0DB8::0001") == "2001:db8::1"
    for text in ("host.example", "", "1.2.3", "224.0.0.1", "ff02::1", "fe80::1%eth0", "::ffff:1.2.3.4", "1.2.3.4/24", "999.1.1.1", "1.2.3.4\n"):
        assert numeric(text) is None, text


LINE = st.builds(
    lambda t, v: f"{t}={v}", st.sampled_from("siuepbtrzkaq"), st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30)
)
PORT = st.integers(0, 65535)
HOST = st.ip_addresses().map(str)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Well-formed descriptions with anything in the lines that nobody reads."""
    lines = ["v=0", f"o=- {draw(PORT)} {draw(PORT)} IN IP4 {draw(HOST)}", *draw(st.lists(LINE.filter(lambda x: x[0] != "m"), max_size=4))]
    for _ in range(draw(st.integers(0, 5))):
        lines.append(f"m={draw(st.sampled_from(['audio', 'video', 'image', 'x']))} {draw(PORT)} {draw(st.sampled_from(['RTP/AVP', 'TCP/X']))} 0 8")
        if draw(st.booleans()):
            lines.append(f"c=IN IP4 {draw(st.ip_addresses(v=4))}")
        lines += draw(st.lists(LINE.filter(lambda x: not x.startswith("a=rtcp:")), max_size=4))
    return "".join(line + "\r\n" for line in lines).encode("latin-1")


@given(bodies())
def test_round_trip(body: bytes) -> None:
    assert Sdp.parse(body).to_bytes() == body


@given(bodies(), st.data())
def test_mutations_are_read_or_refused(body: bytes, data: st.DataObject) -> None:
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)))
        what = data.draw(st.sampled_from(["cut", "set", "add"]))
        if what == "cut":
            del changed[at : at + data.draw(st.integers(1, 10))]
        elif what == "set" and changed:
            changed[at] = data.draw(st.integers(0, 255))
        else:
            changed[at:at] = data.draw(
                st.sampled_from([b"\r\n", b"m=audio 1 RTP/AVP 0\r\n", b"c=IN IP4 1.1.1.1\r\n", b"o=", b"\0", b"=", b" ", b"\xff"])
            )
    try:
        sdp = Sdp.parse(bytes(changed))
    except BadSdp:
        return
    again = Sdp.parse(sdp.to_bytes())
    assert again.to_bytes() == sdp.to_bytes()


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    try:
        Sdp.parse(noise)
    except BadSdp:
        pass
