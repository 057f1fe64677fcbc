"""What a check found, and how `solarshed doctor` prints it: one look, whatever is checked."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO


class Verdict(StrEnum):
    """How a check ended, as it is printed."""

    OK = "ok"
    WARNING = "warn"
    SKIPPED = "skip"
    FAILED = "FAIL"


@dataclass(frozen=True)
class Finding:
    """What a check found, in one sentence, and what to do about it."""

    verdict: Verdict
    sentence: str
    remedy: str = ""


def ok(sentence: str) -> Finding:
    return Finding(Verdict.OK, sentence)


def warning(sentence: str, remedy: str) -> Finding:
    return Finding(Verdict.WARNING, sentence, remedy)


def skipped(sentence: str, remedy: str = "") -> Finding:
    return Finding(Verdict.SKIPPED, sentence, remedy)


def failed(sentence: str, remedy: str) -> Finding:
    return Finding(Verdict.FAILED, sentence, remedy)


def print_finding(subject: str, finding: Finding, out: TextIO) -> None:
    """A line, and one below it with the remedy where there is one."""
    print(f"{finding.verdict:<5} {subject:<16} {finding.sentence}", file=out, flush=True)
    if finding.remedy:
        print(f"{'':<22} -> {finding.remedy}", file=out, flush=True)


def print_summary(verdicts: Counter[Verdict], out: TextIO) -> None:
    """How many checks ended in which way."""
    words = {Verdict.OK: "ok", Verdict.WARNING: "warned", Verdict.FAILED: "failed", Verdict.SKIPPED: "skipped"}
    counted = ", ".join(f"{verdicts[verdict]} {word}" for verdict, word in words.items() if verdicts[verdict])
    print(f"\n{verdicts.total()} checks: {counted}", file=out, flush=True)
