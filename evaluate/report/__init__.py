"""The evaluation report: one HTML page that opens from disk, and a file of suggested thresholds."""

from evaluate.report.page import THRESHOLDS, check_report_folder, write_report

__all__ = ["THRESHOLDS", "check_report_folder", "write_report"]
