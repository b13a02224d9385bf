"""The file of a record: its content, and a digest by which it proves itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from bevformer_lib.errors import DamagedRecordError
from bevformer_lib.strict_json import parse_json

_CONTENT: Final = "content"
_DIGEST: Final = "sha256"


def record_bytes(kind: str, key: str, content: Mapping[str, Any]) -> bytes:
    """Return the file of a record.

    Raises:
        ValueError: the content holds NaN or an infinity.
    """
    document = {_CONTENT: content, _DIGEST: _digest(kind, key, content)}
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False, sort_keys=True)
    return f"{text}\n".encode()


def record_content(raw: bytes, kind: str, key: str, *, place: str) -> dict[str, Any]:
    """Return the content of a record's file.

    Raises:
        DamagedRecordError: it is not what was written under this name.
    """
    try:
        document = parse_json(raw)
        content = document[_CONTENT]
        if isinstance(content, dict) and document[_DIGEST] == _digest(kind, key, content):
            return content
        reason = "its digest is another"
    except ValueError as error:
        reason = f"not JSON: {error}"
    except (KeyError, TypeError):
        reason = "it lacks its content or its digest"
    raise DamagedRecordError(f"{place}: the record is damaged ({reason}); build again: its step is redone")


def _digest(kind: str, key: str, content: Mapping[str, Any]) -> str:
    text = json.dumps([kind, key, content], allow_nan=False, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
