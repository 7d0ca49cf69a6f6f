"""Keep secrets out of messages and logs.

A secret in an address shows up in what libraries log and raise: urllib3 names the address that it
tries again, GDAL the file that it could not read. Records of both pass a filter here.
"""

import logging
import os
import re
from functools import cache
from urllib.parse import quote

from srsat_dask.errors import TokenError

XYZ_TOKEN = "SRSAT_XYZ_TOKEN"  # noqa: S105  the variable's name, not a token
"""Environment variable that fills ``{token}`` in an XYZ template."""

TELLUS_TOKEN = "SRSAT_TELLUS_TOKEN"  # noqa: S105
"""Environment variable that holds the token of Tellus."""

HIDDEN = "***"
"""What stands in place of a secret."""

_QUERY = re.compile(r"(?<=\?)[^\s'\"<>),]+")


def token(variable: str) -> str:
    """Return the secret that an environment variable of this process holds.

    Raises
    ------
    TokenError
        It is not set.
    """
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise TokenError(f"no token: set the environment variable {variable}")
    return secret


def redact(text: str) -> str:
    """Return a text without the tokens of this process's environment, plain or percent-encoded."""
    for variable in (XYZ_TOKEN, TELLUS_TOKEN):
        secret = os.environ.get(variable, "").strip()
        if secret:
            for form in (secret, quote(secret, safe=""), quote(secret)):
                text = text.replace(form, HIDDEN)
    return text


def redact_addresses(text: str) -> str:
    """Return a text without tokens and without any address's query: a presigned one is a key."""
    return _QUERY.sub(HIDDEN, redact(text))


class _Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, redacted."""
        record.msg, record.args = redact_addresses(record.getMessage()), ()
        return True


@cache
def guard_logs() -> None:
    """Redact from now on what urllib3 and rasterio log in this process."""
    known = [name for name in logging.root.manager.loggerDict if name.startswith("rasterio")]
    for name in ("urllib3.connectionpool", "urllib3.util.retry", *known):
        logging.getLogger(name).addFilter(_Redacting())
