"""What the page may use: where it listens, which folder it sees, and limits."""

import dataclasses
from pathlib import Path

LOCAL_HOSTS = ('localhost', '127.0.0.1', '::1')


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the page.

    Attributes:
      folder: captures, runs and tables are looked for in it, and runs are written there.
      host: the address to listen at.
      port: the port to listen at; 0 for any free one.
      model: name of a model, or folder of a run, that is used unless the user chooses another; ''
        for what suits each picture.
      password: what users have to give; '' if the page is for this machine alone.
      most_bytes: size of an upload.
      most_pixels: of one image of an upload, width times height.
      most_pictures: that a user may have uploaded at a time.
      most_jobs: that may wait for their turn, of all users together.
      most_seconds: that a job may take.
      kept_seconds: after which the uploads of a user who does nothing are deleted.
    """

    folder: Path
    host: str = 'localhost'
    port: int = 7860
    model: str = ''
    password: str = ''
    most_bytes: int = 1 << 30
    most_pixels: int = 200_000_000
    most_pictures: int = 200
    most_jobs: int = 500
    most_seconds: float = 3600.0
    kept_seconds: float = 4 * 3600.0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        return self.host in LOCAL_HOSTS
