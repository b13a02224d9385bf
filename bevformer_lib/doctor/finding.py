"""What a check of a machine found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How a check went: fine, works but not as it should, or does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        found: what is there; holds no credentials.
        fix: what to do; empty where nothing is to be done.
    """

    check: str
    status: Status
    found: str
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check, Status.OK, found)


def warn(check: str, found: str, fix: str) -> Finding:
    """Return a finding that work can go on with."""
    return Finding(check, Status.WARN, found, fix)


def fail(check: str, found: str, fix: str) -> Finding:
    """Return a finding that has to be fixed first."""
    return Finding(check, Status.FAIL, found, fix)
