"""Quotas of a project, and what the project uses of them."""

from msgspec import Struct

from ferrotype.model.errors import OverLimit

MIB = 1 << 20

#: Keystone's names for the resources; those of data are limited in MiB.
SIZE, STAGE, COUNT, UPLOADING = "image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"


class Quota(Struct, frozen=True):
    """The quota of ``resource``: bytes, or a number of images. Negative: unlimited."""

    resource: str
    most: int = -1
    unit: str = "images"

    @property
    def counts(self) -> bool:
        """Whether there is a limit."""
        return self.most >= 0

    def exceeded_by(self, usage: int, delta: int) -> OverLimit:
        """Return the error for ``delta`` more when ``usage`` is in use."""
        return OverLimit(
            f"The project's quota of {self.resource} would be exceeded:"
            f" the limit is {self.most} {self.unit}, {usage} are in use, {delta} more were requested."
        )


class Quotas(Struct, frozen=True):
    """All quotas of one project, by Keystone's names for the resources."""

    size: Quota
    stage: Quota
    count: Quota
    uploading: Quota


class Usage(Struct, frozen=True):
    """What a project uses: bytes of finished and announced data, bytes of staged data, and images."""

    size: int
    stage: int
    count: int
    uploading: int


class ProjectUsage(Struct, frozen=True):
    """What a project uses, and its quotas."""

    used: Usage
    quotas: Quotas
