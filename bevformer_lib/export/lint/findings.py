"""What the rules find, how bad it is, and what a person has decided to let pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bevformer_lib.errors import ExportError
from bevformer_lib.export.lint.evidence import Evidence


class Severity(Enum):
    """Whether a finding stops an export."""

    ERROR = "error"
    """The converter refuses the graph, or the chip computes something else."""
    WARNING = "warning"
    """Worth a look; the converter may take it."""


@dataclass(frozen=True)
class Finding:
    """Something at one place of a graph that a rule objects to.

    Attributes:
        severity: whether it stops an export.
        node: label of the node, or name of the tensor or graph.
        operator: the node's operator, with the domain where that is not the standard one; empty for a tensor or graph.
    """

    rule: str
    severity: Severity
    node: str
    operator: str
    why: str
    advice: str
    evidence: Evidence

    @property
    def place(self) -> str:
        """Operator and node, for people."""
        return f"{self.operator} {self.node!r}".lstrip()

    def __str__(self) -> str:
        return f"[{self.rule}] {self.place}: {self.why} ({self.evidence}); {self.advice}"


@dataclass(frozen=True)
class Waiver:
    """A rule that a person lets pass, everywhere or at one node.

    Attributes:
        node: the finding's ``node``, or ``None`` for every place.
    """

    rule: str
    node: str | None = None

    def covers(self, finding: Finding) -> bool:
        """Whether the waiver is about this finding."""
        return self.rule == finding.rule and self.node in (None, finding.node)

    def __str__(self) -> str:
        return self.rule if self.node is None else f"{self.rule}:{self.node}"


def parse_waivers(texts: Sequence[str], rules: Sequence[str]) -> tuple[Waiver, ...]:
    """Return the waivers written ``RULE`` or ``RULE:NODE``.

    Args:
        texts: as given on the command line.
        rules: names of all rules.

    Raises:
        ExportError: a rule of that name does not exist.
    """
    waivers = []
    for text in texts:
        rule, separator, node = text.partition(":")
        if rule not in rules or (separator and not node):
            raise ExportError(
                f"can't waive {text!r}: write RULE or RULE:NODE, with one of the rules {', '.join(rules)}"
            )
        waivers.append(Waiver(rule, node or None))
    return tuple(waivers)


@dataclass(frozen=True)
class LintReport:
    """What a check of one graph for one chip found.

    Attributes:
        findings: what was not waived, errors first.
        waived: what was, in the order of the rules.
        unused_waivers: waivers that no finding needed.
    """

    chip: str
    findings: tuple[Finding, ...]
    waived: tuple[Finding, ...]
    unused_waivers: tuple[Waiver, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop an export."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that do not."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.WARNING)
