"""Reads host.json and local.settings.json as tolerantly as the Functions host and its Core Tools do.

Both parse with Newtonsoft.Json, after a byte order mark has told the encoding. So comments and trailing commas are
allowed. Two things that it allows are not understood here: names without quotes, and single quotes. The reader is no
package, since the app needs it while it is loaded, and has nothing else to parse with it.
"""

import codecs
import json
import re
from pathlib import Path

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),  # what `>` and Out-File of Windows PowerShell write
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMENT = r"//[^\r\n]*|/\*(?>.*?\*/)"
# A string is matched first and kept, so that what looks like a comment inside it is none.
_STRING_OR_EXTRA = re.compile(
    rf'("(?:\\.|[^"\\])*")|{_COMMENT}|,(?=(?:\s|{_COMMENT})*[\]}}])',
    re.DOTALL,
)


def read_json(path: Path) -> object:
    """The document in this file.

    Raises:
        ValueError: the file is no such JSON.
        OSError: the file cannot be read.
    """
    return parse(path.read_bytes())


def parse(content: bytes) -> object:
    """The document in the content of a file.

    Raises:
        ValueError: the content is no such JSON.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    text = content.decode(encoding)
    try:
        return json.loads(_STRING_OR_EXTRA.sub(lambda match: match[1] or " ", text))
    except RecursionError as error:
        raise ValueError("too deeply nested") from error


def local_settings(path: Path) -> dict[str, str]:
    """The `Values` of a local.settings.json. `null` means that a setting is absent.

    Raises:
        ValueError: the file is no local.settings.json; the text says why.
        OSError: the file cannot be read.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise ValueError("it is not an object")  # noqa: TRY004  it is the file's value that is wrong
    members = {str(name).lower(): value for name, value in document.items()}
    values = members.get("values")
    if members.get("isencrypted"):
        raise ValueError("it is encrypted: `func settings decrypt` decrypts it")
    if not isinstance(values, dict):
        raise ValueError("it has no Values")  # noqa: TRY004  it is the file's value that is wrong
    if nested := [name for name, value in values.items() if isinstance(value, dict | list)]:
        raise ValueError(f"its Values.{nested[0]} is not a text")
    return {name: str(value) for name, value in values.items() if value is not None}
