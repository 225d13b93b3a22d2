"""Is this run on the compiled rooms (`make test-compiled`)?"""

from __future__ import annotations

import pytest

from ngcpd.sip import message

COMPILED = str(message.__file__).endswith(".so")
python_only = pytest.mark.skipif(COMPILED, reason="puts something of the test's own into a compiled class, which takes none")
