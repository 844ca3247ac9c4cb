"""Why rows were not taken in, and why a sealed file is not trusted. No message carries a value of a row."""

from __future__ import annotations

from yingbi.api.problem import Kind, Problem


class IngestError(Problem):
    """The shard was not sealed, and nothing of it is on disk. `field` is a YAML path of the declaration."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        hint: str | None = None,
        kind: Kind = Kind.MALFORMED,
    ) -> None:
        super().__init__(kind, code, message, field=field, hint=hint)


class SealedFileError(Problem):
    """A file of a sealed shard is missing, was changed, or does not belong to the shard."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(
            Kind.FAILED,
            "sealed_file",
            f"The sealed file {file} {reason}.",
            hint="Restore the shard's folder from a backup, or add the dataset again.",
            details={"file": file, "reason": reason},
        )
        self.file = file
        self.reason = reason
