"""Everything people look at, derived from the ledger's records and nothing else.

write_report(lines, folder)        report.html, progress.png, results.tsv
verdict_sentence(judged, lines)    a verdict in plain words
"""

from lab.report.page import ReportPaths, write_report
from lab.report.words import verdict_sentence

__all__ = ["ReportPaths", "verdict_sentence", "write_report"]
