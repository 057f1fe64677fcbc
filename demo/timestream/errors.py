"""What the endpoint answers when it refuses.

ServiceError
 ├─ ValidationError         the request as a whole is wrong; nothing was stored
 ├─ ResourceNotFoundError   no such database or table
 ├─ ConflictError           it exists already
 └─ RejectedRecordsError    some records were refused; the others are stored
"""

from dataclasses import dataclass
from typing import Any


class ServiceError(Exception):
    """An error with the shape of the service's: a type, a message and an HTTP status."""

    def __init__(self, error_type: str, message: str, http_status: int = 400) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.http_status = http_status

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        return {"__type": f"com.amazonaws.timestream.v20181101#{self.error_type}", "Message": self.message}


class ValidationError(ServiceError):
    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


class ResourceNotFoundError(ServiceError):
    def __init__(self, message: str) -> None:
        super().__init__("ResourceNotFoundException", message, http_status=404)


class ConflictError(ServiceError):
    def __init__(self, message: str) -> None:
        super().__init__("ConflictException", message, http_status=409)


@dataclass(frozen=True)
class Rejection:
    """Why one record of a request was not stored. `existing_version` is there when a stored record stood against it."""

    record_index: int
    reason: str
    existing_version: int | None = None

    def body(self) -> dict[str, Any]:
        """This rejection as the service's RejectedRecord."""
        record: dict[str, Any] = {"RecordIndex": self.record_index, "Reason": self.reason}
        if self.existing_version is not None:
            record["ExistingVersion"] = self.existing_version
        return record


class RejectedRecordsError(ServiceError):
    # The service answers with this unregistered status code.
    HTTP_STATUS = 419

    def __init__(self, rejections: list[Rejection]) -> None:
        message = f"{len(rejections)} of the records were rejected: RejectedRecords says which and why"
        super().__init__("RejectedRecordsException", message, self.HTTP_STATUS)
        self.rejections = sorted(rejections, key=lambda rejection: rejection.record_index)

    def body(self) -> dict[str, Any]:
        rejected = [rejection.body() for rejection in self.rejections]
        return {**super().body(), "RejectedRecords": rejected}
