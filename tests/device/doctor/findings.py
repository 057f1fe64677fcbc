"""What doctor is shown, and what it must find."""

from datetime import UTC, datetime
from pathlib import Path

from contract.finding import Finding, Verdict

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def show(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def assert_failed(finding: Finding, sentence: str, remedy: str) -> None:
    assert finding.verdict is Verdict.FAILED
    assert sentence in finding.sentence
    assert remedy in finding.remedy


def assert_warned(finding: Finding, sentence: str, remedy: str) -> None:
    assert finding.verdict is Verdict.WARNING
    assert sentence in finding.sentence
    assert remedy in finding.remedy
