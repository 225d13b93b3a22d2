"""Packaging: see pyproject.toml. This file adds what that cannot say: the twisted plugin and package data."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ngcpd", "ngcpd.*"]), "twisted.plugins"],
    package_data={"ngcpd": ["py.typed", "*/data/*", "store/migrations/*.py", "store/migrations/versions/*.py"]},
    include_package_data=True,
)
