"""What the Metal simulator said of a candidate in Metal, as HTML: findings and bytes moved.

Shown with verify, where that ran without Metal. The simulator's words hold names that a candidate
chose (kernels, buffers); they are escaped like all others.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.outcomes import MetalFinding, MetalTraffic, Simulated
from lab.report.markup import Markup, details, element, joined, table
from lab.report.numbers import counted

GRAVEST_FIRST = ("error", "warning", "note")


def simulated_section(simulated: Simulated | None) -> Markup:
    """How much was simulated, the findings by kind, and what each kernel moved."""
    if simulated is None:
        return joined()
    return joined(
        element("p", str(simulated)),
        _findings(simulated.findings),
        _traffic(simulated.traffic),
    )


def _findings(findings: Sequence[MetalFinding]) -> Markup:
    if not findings:
        return element("p", "No finding in what it ran.")
    kinds: dict[tuple[str, str], list[MetalFinding]] = {}
    for severity in GRAVEST_FIRST:
        for finding in findings:
            if finding.severity == severity:
                kinds.setdefault((severity, finding.kind), []).append(finding)
    rows = [
        [severity, element("code", kind), f"{len(found):,}", str(found[0])]
        for (severity, kind), found in kinds.items()
    ]
    every = [str(finding) for found in kinds.values() for finding in found]
    return joined(
        table("Findings of the simulator", ["gravity", "kind", ">places", "the first"], rows),
        details(
            f"{counted(len(every), 'finding')} in all",
            element("ul", [element("li", text) for text in every]),
        ),
    )


def _traffic(traffic: Sequence[MetalTraffic]) -> Markup:
    if not traffic:
        return joined()
    rows = [
        [
            element("code", each.kernel),
            f"{each.elements:,}",
            f"{each.bytes_moved / each.elements:.2f}",
            f"{each.bytes_least / each.elements:.2f}",
        ]
        for each in traffic
    ]
    headings = ["kernel", ">elements", ">moved", ">least"]
    return table("Bytes per element of each kernel's largest launch", headings, rows)
