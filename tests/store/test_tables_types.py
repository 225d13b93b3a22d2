"""Column types mean the same on both engines."""

from __future__ import annotations

import datetime
from decimal import ROUND_HALF_UP, Decimal

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.runtime.fake import InlineExecutor, SimClock
from ngcpd.store.db import Database
from ngcpd.store.tables import metadata
from ngcpd.store.tables._base import Epoch3, Money, Rate, Utc
from ngcpd.store.tables.accounting import acc, cdr
from ngcpd.store.tables.identity import customer_location_block

probe = sa.Table(
    "probe",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("money", Money()),
    sa.Column("rate", Rate()),
    sa.Column("epoch", Epoch3()),
    sa.Column("moment", Utc()),
)


@pytest.fixture
def database(empty_url):
    database = Database(empty_url, InlineExecutor(), SimClock())
    database.run_here(probe.create)
    yield database
    database.close()


def store(database, column, value):
    def work(conn):
        conn.execute(sa.delete(probe))
        conn.execute(sa.insert(probe), {"id": 1, column: value})

    database.run_here(work)
    return database.read_here(lambda conn: conn.scalar(sa.select(probe.c[column])))


def decimals(digits, places):
    limit = Decimal(10) ** (digits - places) - Decimal(1).scaleb(-places)
    return st.decimals(-limit, limit, allow_nan=False, allow_infinity=False, places=places)


@pytest.mark.parametrize(("column", "digits", "places"), [("money", 14, 6), ("rate", 20, 14), ("epoch", 13, 3)])
def test_decimals_come_back_exactly(database, column, digits, places):
    @settings(max_examples=40, deadline=None)
    @given(decimals(digits, places))
    def check(value):
        assert store(database, column, value) == value

    check()
    limit = Decimal(10) ** (digits - places)
    assert store(database, column, limit - Decimal(1).scaleb(-places)) == limit - Decimal(1).scaleb(-places)
    assert store(database, column, 7) == Decimal(7)
    assert store(database, column, None) is None
    with pytest.raises((sa.exc.StatementError, ValueError)):
        store(database, column, limit)


@pytest.mark.parametrize(("given_", "kept"), [("0.0000005", "0.000001"), ("-0.0000005", "-0.000001"), ("1.00000049", "1.000000"), (0.1, "0.100000")])
def test_money_rounds_half_up(database, given_, kept):
    found = store(database, "money", given_ if isinstance(given_, float) else Decimal(given_))
    assert found == Decimal(kept) == found.quantize(Decimal("0.000001"), ROUND_HALF_UP)


def test_sums_are_decimals(database):
    def work(conn):
        conn.execute(sa.insert(probe), [{"id": n, "money": Decimal("0.1")} for n in range(1, 31)])
        return conn.scalar(sa.select(sa.func.sum(probe.c.money)))

    assert database.run_here(work) == Decimal("3.000000")


def test_moments_are_utc_with_whole_seconds(database):
    zone = datetime.timezone(datetime.timedelta(hours=2))
    for value in (datetime.datetime(2024, 1, 1, 12, 0, 0, 999999), datetime.datetime(2024, 1, 1, 14, 0, 0, 999999, zone)):
        assert store(database, "moment", value) == datetime.datetime(2024, 1, 1, 12)
    assert store(database, "moment", datetime.datetime(9999, 12, 31, 23, 59, 59)) == datetime.datetime(9999, 12, 31, 23, 59, 59)


def test_addresses_are_16_bytes(store_url):
    database = Database(store_url, InlineExecutor(), SimClock())
    value = bytes(15) + b"\0"
    statement = sa.select(customer_location_block.c.first)
    assert isinstance(customer_location_block.c.first.type.dialect_impl(database.engine.dialect), sa.types.TypeEngine)

    def work(conn):
        conn.exec_driver_sql("PRAGMA foreign_keys" if database.is_sqlite else "SET FOREIGN_KEY_CHECKS=0")
        if database.is_sqlite:
            conn.exec_driver_sql("PRAGMA defer_foreign_keys=1")
        row = {"location_id": 1, "ip": "::", "family": 6, "first": value, "last": b"\xff" * 16}
        conn.execute(sa.insert(customer_location_block), row)
        low = conn.scalar(statement.where(customer_location_block.c.first <= bytes(16), customer_location_block.c.last >= b"\x7f" * 16))
        conn.execute(sa.delete(customer_location_block))
        return low

    assert database.run_here(work) == value
    database.close()


def test_long_legs(store_url):
    """Two legs of 10240 characters of four bytes each in one row."""
    database = Database(store_url, InlineExecutor(), SimClock())
    leg = "😀" * 10240
    row = {"time": datetime.datetime(2024, 1, 1), "time_hires": Decimal("1704067200.123"), "src_leg": leg, "dst_leg": leg}
    database.run_here(lambda conn: conn.execute(sa.insert(acc), row))
    found = database.read_here(lambda conn: conn.execute(sa.select(acc.c.src_leg, acc.c.dst_leg, acc.c.time_hires)).one())
    assert tuple(found) == (leg, leg, Decimal("1704067200.123"))
    database.close()


COLUMNS = """
id update_time source_user_id source_provider_id source_external_subscriber_id source_external_contract_id source_account_id source_user
source_domain source_cli source_clir source_ip source_gpp0 source_gpp1 source_gpp2 source_gpp3 source_gpp4 source_gpp5 source_gpp6
source_gpp7 source_gpp8 source_gpp9 source_lnp_prefix destination_user_id destination_provider_id destination_external_subscriber_id
destination_external_contract_id destination_account_id destination_user destination_domain destination_user_dialed destination_user_in
destination_domain_in destination_gpp0 destination_gpp1 destination_gpp2 destination_gpp3 destination_gpp4 destination_gpp5
destination_gpp6 destination_gpp7 destination_gpp8 destination_gpp9 destination_lnp_prefix peer_auth_user peer_auth_realm call_type
call_status call_code init_time start_time duration call_id source_carrier_cost source_reseller_cost source_customer_cost
source_carrier_free_time source_reseller_free_time source_customer_free_time source_carrier_billing_fee_id source_reseller_billing_fee_id
source_customer_billing_fee_id source_carrier_billing_zone_id source_reseller_billing_zone_id source_customer_billing_zone_id
destination_carrier_cost destination_reseller_cost destination_customer_cost destination_carrier_free_time destination_reseller_free_time
destination_customer_free_time destination_carrier_billing_fee_id destination_reseller_billing_fee_id destination_customer_billing_fee_id
destination_carrier_billing_zone_id destination_reseller_billing_zone_id destination_customer_billing_zone_id frag_carrier_onpeak
frag_reseller_onpeak frag_customer_onpeak is_fragmented split rated_at rating_status exported_at export_status
"""
CDR = COLUMNS.split()


def test_cdr_has_its_columns_in_order():
    assert [c.name for c in cdr.columns] == CDR
    assert len(CDR) == 86
    assert {tuple(c.name for c in index.columns) for index in cdr.indexes} == {
        ("source_user_id",),
        ("destination_user_id",),
        ("source_user", "source_domain", "source_cli"),
        ("destination_user", "destination_domain"),
        ("destination_user_in", "destination_domain_in"),
        ("source_provider_id",),
        ("destination_provider_id",),
        ("call_id",),
        ("rating_status",),
        ("export_status",),
        ("start_time",),
        ("source_account_id", "start_time"),
        ("destination_account_id", "start_time"),  # beyond the data model: call lists of a called customer
        ("source_cli", "destination_user_in", "start_time"),
    }


def test_nothing_asks_the_server_for_the_time():
    for table in metadata.tables.values():
        for column in table.columns:
            assert column.onupdate is None and column.server_onupdate is None and column.default is None, column
            if column.server_default is not None:
                assert "CURRENT" not in str(column.server_default.arg).upper()


def test_no_native_enum_and_no_server_side_enum():
    for table in metadata.tables.values():
        assert not any(isinstance(column.type, sa.Enum) for column in table.columns)
