"""How much a project may have of something."""

from msgspec import Struct

from ferrotype.model.errors import OverLimit

MIB = 1 << 20


class Quota(Struct, frozen=True):
    """What a project may have of ``resource``: bytes, or a number of images. Negative: as much as it likes."""

    resource: str
    most: int = -1
    unit: str = "images"

    @property
    def counts(self) -> bool:
        """Whether there is a limit at all."""
        return self.most >= 0

    def exceeded_by(self, usage: int, delta: int) -> OverLimit:
        """Return the refusal of ``delta`` more where ``usage`` is in use."""
        return OverLimit(
            f"The project's limit of {self.resource} would be exceeded:"
            f" the limit is {self.most} {self.unit}, {usage} are in use, {delta} more were asked for."
        )


class Quotas(Struct, frozen=True):
    """Everything that is counted for one project, by the names that Keystone has for it."""

    size: Quota
    stage: Quota
    count: Quota
    uploading: Quota


class Usage(Struct, frozen=True):
    """What a project uses: bytes of finished and coming data, bytes that are staged, and images."""

    size: int
    stage: int
    count: int
    uploading: int
