"""Was it a person? Scanners and prefetchers open mails and follow links, too.

Their receipts are kept (`machine`), and never learnt from. Ordinary HTTP libraries are not listed:
only programs that are known to look at other people's mail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SCANNERS = re.compile(
    r"bot\b|crawler|spider|scanner|preview|prefetch|headless|barracuda|proofpoint|mimecast|"
    r"safelinks|fortiguard|zscaler|symantec|trendmicro|sophos|urldefense|phish|antivirus|"
    r"existence discovery|facebookexternalhit|whatsapp|skypeuripreview|google-safety",
    re.IGNORECASE)
# Apple's Mail Privacy Protection loads every image ahead of time and says no more than this.
_PRIVACY_PROXY = "Mozilla/5.0"


def is_machine(method: str, headers: Mapping[str, str]) -> bool:
    """True when a request probably was no person's doing. Header names are lower-case."""
    agent = headers.get("user-agent", "").strip()
    ahead = " ".join(headers.get(name, "") for name in
                     ("purpose", "sec-purpose", "x-purpose", "x-moz")).lower()
    return (method == "HEAD" or not agent or agent == _PRIVACY_PROXY
            or "prefetch" in ahead or "prerender" in ahead or "preview" in ahead
            or _SCANNERS.search(agent) is not None)
