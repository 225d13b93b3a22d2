"""The places of announcements (data model 9: groups and handles with their ids; the spelling is a contract with sound packs)."""

from __future__ import annotations

from typing import NamedTuple


class Handle(NamedTuple):
    """One place. A name is unique within its group only."""

    id: int
    group: str
    name: str


_AGENT = [f"aa_{n}_{what}" for n in range(1, 10) for what in ("for", "option")]
_NAMES: dict[str, tuple[tuple[int, ...], str]] = {
    "early_rejects": (
        (*range(1, 20), 21, 22),
        "block_in block_out block_ncos block_override_pin_wrong locked_in locked_out max_calls_in max_calls_out max_calls_peer unauth_caller_ip "
        "relaying_denied invalid_speeddial cf_loop callee_offline callee_busy callee_unknown callee_tmp_unavailable peering_unavailable "
        "voicebox_unavailable emergency_unsupported no_credit",
    ),
    "pbx": (
        (*range(38, 60), *range(70, 75)),
        f"aa_welcome {' '.join(_AGENT)} aa_0_for aa_0_option office_hours queue_greeting queue_full queue_prefix queue_suffix queue_waiting_music",
    ),
    "calling_card": (
        tuple(range(23, 38)),
        "and busy_ringback_tone calling_card_not_found connecting could_not_connect credits_successfully_transfered declined_ringback_tone dollar "
        "enter_callingcard_number_to_transfer enter_callingcard_number enter_destination_number error_please_try_later euro_cents euro_unit "
        "you_have_in_your_account",
    ),
    "music_on_hold": ((20,), "music_on_hold"),
    "mobile_push": ((60,), "push_connecting"),
    "voucher_recharge": (
        tuple(range(61, 66)),
        "enter_voucher_number voucher_incorrect error_please_try_later credits_successfully_transferred units",
    ),
    "play_balance": (tuple(range(66, 70)), "you_have_in_your_account units and cents"),
    "digits": (
        tuple(range(75, 113)),
        " ".join([*map(str, range(10)), *(f"{n}-and" for n in range(1, 10)), *map(str, range(10, 21)), *map(str, range(30, 101, 10))]),
    ),
    "conference": (
        (113, *range(115, 124)),
        "conference_greeting conference_pin_wrong conference_joined conference_join conference_leave goodbye conference_first conference_pin "
        "conference_waiting_music conference_max_participants",
    ),
    "malicious_call_identification": ((124,), "malicious_call_report"),
}

GROUPS = tuple(_NAMES)
"""In the order of their ids, from 1."""
CUSTOMER_GROUPS = ("pbx", "music_on_hold", "digits")
"""What the set of a customer may have; a system set may have everything but `pbx`."""
HANDLES = tuple(sorted(Handle(key, group, name) for group, (ids, names) in _NAMES.items() for key, name in zip(ids, names.split(), strict=True)))
BY_ID = {handle.id: handle for handle in HANDLES}


def allowed(group: str, customer: bool) -> bool:
    """May a set of a customer, or a system set, have files of this group?"""
    return group in CUSTOMER_GROUPS if customer else group != "pbx"


def choose(name: str, group: str | None, customer: bool) -> Handle | None:
    """The handle of that name that the set may have; the first group's when several have it. None when it may have none of that name."""
    named = [h for h in HANDLES if h.name == name and (group is None or h.group == group) and allowed(h.group, customer)]
    return min(named, key=lambda h: GROUPS.index(h.group)) if named else None
