"""Uploaded lines: comma, double quotes, blanks around fields do not count, no header (billing 7.1)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from ngcpd.provisioning.errors import Plain


def csv_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not empty. ProvisioningError when the text cannot be taken apart."""
    reader = csv.reader(io.StringIO(text))
    try:
        for line in reader:
            if line:
                yield reader.line_num, [part.strip() for part in line]
    except csv.Error as error:
        raise Plain("file", f"Line {reader.line_num} is not CSV: {error}", "invalid") from None
