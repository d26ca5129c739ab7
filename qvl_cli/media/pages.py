"""The pages of a PDF as pictures; the page number is the time. The only module that knows PDFium.

PDFium is not safe for threads: pages are drawn one at a time, by whoever reads the frames.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pypdfium2

from qvl_cli.errors import EncryptedMedia, MediaError
from qvl_cli.media.container import shown
from qvl_cli.media.stills import Stills, StillSource

if TYPE_CHECKING:
    import numpy.typing as npt

_LONGER_SIDE = 1536  # pixels: small print of an A4 page stays legible


def open_pages(path: Path) -> StillSource:
    """Page p is on screen in [p, p + 1). Raises MediaError (damaged, no page), EncryptedMedia (password)."""
    from qvl_cli.media.examine import content_hash

    file = path.open("rb")
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        file.close()
        if "password" in str(error).lower():
            raise EncryptedMedia(f"{shown(path)} is locked with a password", "save it without one") from error
        raise MediaError(f"{shown(path)} is a damaged PDF ({error})", "save or download it again") from error

    def draw(number: int) -> npt.NDArray[np.uint8]:
        try:
            page = document[number]
            bitmap = page.render(scale=_LONGER_SIDE / max(*page.get_size(), 1), rev_byteorder=True)
        except pypdfium2.PdfiumError as error:
            raise MediaError(f"page {number + 1} of {shown(path)} cannot be drawn", "repair it") from error
        pixels = bitmap.to_numpy()[:, :, :3].copy()
        bitmap.close()
        page.close()
        return np.asarray(pixels, np.uint8)

    def release() -> None:
        document.close()
        file.close()

    if not len(document):
        release()
        raise MediaError(f"{shown(path)} is a PDF without pages", "save or download it again")
    stills = Stills(path, "pdf", "pdf", len(document), draw, lambda: content_hash(path), release)
    return StillSource(stills, Fraction(1), first=Fraction(1), unit="page")
