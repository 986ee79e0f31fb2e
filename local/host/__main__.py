"""See `local.host.local_host`."""

import sys

from local.host.local_host import main

sys.exit(main())
