"""The e-mail channel: hands parcels to an SMTP server over a few connections that stay open.

An answer of the server is a value, never an exception: 2xx taken, 4xx later, 5xx refused, 421 or
silence down. A wrong password is `down` too: it is ours to mend, and no message should pay for it.
"""

from __future__ import annotations

from email.utils import parseaddr

import aiosmtplib

from streams.deliver.ports import Parcel, Reply
from streams.settings import Settings

_CLOSING = 421
_BAD_ADDRESS = frozenset({550, 551, 553})
_FAULTS = (aiosmtplib.SMTPException, OSError, ValueError)


def _reply(code: int, text: str, *, about_address: bool) -> Reply:
    detail = f"{code} {' '.join(text.split())}"[:200]
    if code == _CLOSING:
        return Reply("down", detail)
    if code < 500:
        return Reply("later", detail)
    return Reply("refused", detail, bounced=True,
                 address_bad=about_address and code in _BAD_ADDRESS)


def _understand(fault: Exception) -> Reply:
    """What a failed hand-over means."""
    if isinstance(fault, aiosmtplib.SMTPRecipientsRefused):
        first = fault.recipients[0]
        # the server may quote the address: keep it out of what is recorded
        return _reply(first.code, first.message.replace(first.recipient, "…"), about_address=True)
    connecting = (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPHeloError,
                  aiosmtplib.SMTPAuthenticationError)
    if isinstance(fault, aiosmtplib.SMTPResponseException) and not isinstance(fault, connecting):
        return _reply(fault.code, fault.message, about_address=False)
    return Reply("down", f"{type(fault).__name__}: {fault}"[:200])


class SmtpChannel:
    """A ChannelPort. Connections are opened as needed and kept; a broken one is thrown away."""

    def __init__(self, settings: Settings, *, timeout_s: float = 15.0) -> None:
        self._settings, self._timeout_s = settings, timeout_s
        self._sender = parseaddr(settings.mail_from)[1]
        self._idle: list[aiosmtplib.SMTP] = []

    async def _connect(self) -> aiosmtplib.SMTP:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.smtp_host or settings.host, port=settings.smtp_port,
            username=settings.smtp_user or None, password=settings.smtp_password or None,
            use_tls=settings.smtp_tls == "tls", start_tls=settings.smtp_tls == "starttls",
            timeout=self._timeout_s)
        await client.connect()
        return client

    async def send(self, parcel: Parcel) -> Reply:
        """Hand over one message.

        A kept connection may have been closed by the server meanwhile: then the parcel is tried
        once more on a new one (under the same Message-ID, should the server have taken it yet).
        """
        while self._idle:
            client = self._idle.pop()
            if client.is_connected:
                try:
                    return await self._hand_over(client, parcel)
                except aiosmtplib.SMTPServerDisconnected:
                    break
        try:
            return await self._hand_over(await self._connect(), parcel)
        except _FAULTS as fault:
            return _understand(fault)

    async def _hand_over(self, client: aiosmtplib.SMTP, parcel: Parcel) -> Reply:
        """One transaction. Raises SMTPServerDisconnected when the connection was gone."""
        healthy = False
        try:
            _, words = await client.sendmail(self._sender, [parcel.address], parcel.content)
            healthy = True
            return Reply("taken", words[:200], confirmed=True)
        except aiosmtplib.SMTPServerDisconnected:
            raise
        except _FAULTS as fault:
            reply = _understand(fault)
            healthy = reply.verdict != "down"
            return reply
        finally:
            if healthy and client.is_connected:
                self._idle.append(client)
            else:
                client.close()

    async def close(self) -> None:
        while self._idle:
            client = self._idle.pop()
            try:
                await client.quit()
            except _FAULTS:
                client.close()
