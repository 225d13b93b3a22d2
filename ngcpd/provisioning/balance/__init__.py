"""The balances of contracts: intervals, carry-over, underrun, packages, top-ups (billing 4 and 6).

`rules` is arithmetic, `account` the state of one contract in memory, `book` its rows in the store, `effects` what it does to subscribers,
`topup` vouchers and cash.
"""

from ngcpd.provisioning.balance.book import account_of, catch_up, load, newest, open_account, save, switch_package, underrun_locks

__all__ = ["account_of", "catch_up", "load", "newest", "open_account", "save", "switch_package", "underrun_locks"]
