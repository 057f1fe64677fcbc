"""What a check found."""

import errno
import os
from dataclasses import dataclass
from enum import StrEnum


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


def halves(text: str, otherwise: str) -> tuple[str, str]:
    """Sentence and remedy of one of our own errors, which have a semicolon between."""
    sentence, semicolon, remedy = text.rpartition("; ")
    if os.strerror(errno.EACCES) in text:
        # The installation lets only root and the services look into /etc/solarshed.
        remedy = "run doctor with sudo"
    return (sentence, remedy) if semicolon else (text, otherwise)
