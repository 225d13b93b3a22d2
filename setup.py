"""Packaging: see pyproject.toml. This file adds what that cannot say: the twisted plugin and package data."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ngcpd", "ngcpd.*"]), "twisted.plugins"],
    package_data={"ngcpd": ["py.typed", "*/data/*"]},
    include_package_data=True,
)
