"""WAV files of all kinds become 8 kHz mono; broken ones are refused and nothing else happens."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.provisioning import audio, handles
from tests.web.wavs import riff, tone


def loudness(samples: bytes) -> float:
    values = [s for (s,) in struct.iter_unpack("<h", samples)]
    return math.sqrt(sum(v * v for v in values) / len(values))


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_rates_and_channels(rate, channels):
    samples = audio.telephone(tone(rate, 700, 0.5, channels))
    assert abs(len(samples) // 2 - 4000) <= 3
    assert 6500 < loudness(samples[800:-800]) < 7200  # 10000 / sqrt(2), a little less by interpolation


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_what_8_khz_cannot_carry_is_taken_out(rate):
    assert loudness(audio.telephone(tone(rate, 5500, 0.5))[800:-800]) < 100


def test_blocks_have_no_seams(monkeypatch):
    whole = audio.telephone(tone(44100, 900, 1.0))
    monkeypatch.setattr(audio, "BLOCK", 997)
    assert audio.telephone(tone(44100, 900, 1.0)) == whole


def test_widths_and_companded_formats():
    line = [0, 1000, -1000, 32000, -32000]
    pcm = struct.pack("<5h", *line)
    assert audio.telephone(riff(pcm)) == pcm
    assert audio.telephone(riff(b"".join(s.to_bytes(3, "little", signed=True) for s in (v << 8 for v in line)), bits=24)) == pcm
    assert audio.telephone(riff(struct.pack("<5i", *(v << 16 for v in line)), bits=32)) == pcm
    assert struct.unpack("<3h", audio.telephone(riff(bytes((128, 255, 0)), bits=8))) == (0, 127 << 8, -128 << 8)
    alaw = audio.to_alaw(pcm)
    assert audio.telephone(riff(alaw, bits=8, kind=6)) == audio.from_alaw(alaw)
    assert abs(struct.unpack("<h", audio.telephone(riff(b"\xff", bits=8, kind=7)))[0]) < 10


def test_extensible_and_other_chunks():
    guid = struct.pack("<H", 1) + audio._GUID
    shape = struct.pack("<HHIIHH", 0xFFFE, 1, 8000, 16000, 2, 16) + struct.pack("<HHI", 22, 16, 0) + guid
    body = b"WAVELIST\x03\0\0\0abc\0fmt " + struct.pack("<I", 40) + shape + b"data\xff\xff\xff\xff" + b"\x01\x02\x03"
    assert audio.telephone(b"RIFF\0\0\0\0" + body) == b"\x01\x02"  # the length is unknown and half a sample is cut off


@given(st.binary(max_size=200), st.integers(0, 65535), st.integers(0, 300), st.integers(0, 2**32 - 1), st.integers(0, 65535))
def test_any_header_is_read_or_refused(data, kind, channels, rate, bits):
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, kind, channels, rate, 0, 0, bits, b"data", len(data))
    for body in (head + data, head[: len(data)] + data, data, b"RIFF\0\0\0\0WAVE" + data):
        try:
            assert len(audio.telephone(body)) % 2 == 0
        except audio.BadAudio as error:
            assert str(error)


@given(st.binary(max_size=400).filter(lambda d: len(d) % 2 == 0 and d))
def test_what_is_written_is_read(data):
    assert audio.read(audio.wav(data)) == audio.Pcm(data, 2, 1, 8000)


def test_handles_of_customers_and_systems():
    assert len(handles.HANDLES) == len(handles.BY_ID) == 123
    for handle in handles.HANDLES:
        assert handles.choose(handle.name, handle.group, customer=True) == (handle if handle.group in handles.CUSTOMER_GROUPS else None)
        assert handles.choose(handle.name, handle.group, customer=False) == (handle if handle.group != "pbx" else None)
    assert handles.choose("units", None, customer=False).group == "voucher_recharge"
