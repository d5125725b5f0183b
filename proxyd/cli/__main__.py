"""What does ``python -m proxyd.cli`` do?  The same as ``proxyctl``."""

from __future__ import annotations

import sys

from proxyd.cli import main

sys.exit(main())
