"""Installs Azurite: `python -m local.azurite`."""

import sys

from local.azurite import AzuriteUnavailable, install

try:
    print(f"Azurite is in {install()}")
except AzuriteUnavailable as error:
    sys.exit(str(error))
