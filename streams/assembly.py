"""Builds the stages: settings and adapters go in, StageLogic comes out. Nothing else knows both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from infra import secrets
from streams.adapters.models import compose_logic
from streams.adapters.registry import SchemaRegistry
from streams.adapters.smtp import SmtpChannel
from streams.adapters.spilling import SpillFile
from streams.adapters.vault import SqliteVault
from streams.adapters.webhook import WebhookChannel
from streams.admit.agent import AdmitLogic
from streams.admit.limits import AdmitLimits
from streams.choose import definitions
from streams.choose import rehearsal as choose_rehearsal
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.deliver.agent import DeliverLogic, DeliverParams
from streams.deliver.ports import ChannelPort
from streams.engine import rehearsal
from streams.engine.room import Room
from streams.engine.stage import StageLogic
from streams.kernel.side_inputs import SideInputs
from streams.learn.agent import LearnLogic
from streams.playbooks import loading
from streams.playbooks.active import ActivePlaybooks
from streams.playbooks.model import Playbook
from streams.privacy.pseudonyms import Pseudonyms
from streams.settings import Settings


@dataclass
class Deps:
    """What the stages of one process share. Adapters are made when a stage first needs them."""

    settings: Settings
    side: SideInputs = field(default_factory=SideInputs)
    playbooks: ActivePlaybooks = field(default_factory=lambda: ActivePlaybooks(loading.from_yaml))

    def secret(self, name: str) -> bytes:
        return bytes.fromhex(secrets.read(self.settings, name))

    @cached_property
    def vault(self) -> SqliteVault:
        return SqliteVault(self.settings.path("vault", "vault.db"), self.secret("vault_key"))

    @cached_property
    def channels(self) -> dict[str, ChannelPort]:
        """The channels that are configured; a message for another one is skipped, with a reason."""
        found: dict[str, ChannelPort] = {"email": SmtpChannel(self.settings)}
        if self.settings.webhook_url:
            found["webhook"] = WebhookChannel(self.settings.webhook_url,
                                              self.secret("webhook_key"))
        return found

    async def close(self) -> None:
        """Let go of what was opened: mail connections, the vault."""
        if "channels" in self.__dict__:
            for channel in self.channels.values():
                await channel.close()
        if "vault" in self.__dict__:
            self.vault.close()

    def playbooks_of(self, side: SideInputs, tenant: str) -> Sequence[Playbook]:
        return self.playbooks.of(side, tenant)


def _admit(deps: Deps) -> StageLogic:
    settings = deps.settings
    registry = SchemaRegistry(settings.schema_registry) if settings.schema_registry else None
    return AdmitLogic(deps.side, Pseudonyms(deps.secret("pseudonym_key")), deps.vault,
                      partitions=settings.partitions,
                      limits=AdmitLimits.from_settings(settings), registry=registry)


def _choose(deps: Deps) -> StageLogic:
    return ChooseLogic(deps.side, compiled(deps.settings.definitions),
                       _readable(deps.settings).of,
                       members_min=deps.settings.segment_members_min, room=_room(deps.settings))


def _readable(settings: Settings) -> ActivePlaybooks:
    """Playbooks that this process' own definitions can read: those in force may have been applied
    with others, and one that asks for a feature which is not here would fail at every event."""
    known = definitions.load(settings.definitions)
    return ActivePlaybooks(partial(
        loading.from_yaml, known_features=known.feature_names,
        known_segments=known.segment_names, rhythms=known.rhythms))


def _room(settings: Settings) -> Room | None:
    """One partition's share of the memory for people's rows; None: there is no limit."""
    if not settings.profile_memory_mb:
        return None
    share = (settings.profile_memory_mb << 20) // settings.partitions
    return Room(share, lambda: SpillFile(settings.path("state", "choose")))


def _deliver(deps: Deps) -> StageLogic:
    params = DeliverParams(link_key=deps.secret("link_key"), public_url=deps.settings.public_url,
                           mail_from=deps.settings.mail_from)
    return DeliverLogic(deps.side, deps.vault, deps.channels, params)


def _learn(deps: Deps) -> StageLogic:
    return LearnLogic(deps.side)


def _compose(deps: Deps) -> StageLogic:
    return compose_logic(deps.settings, deps.side)


_BUILD: dict[str, Callable[[Deps], StageLogic]] = {
    "admit": _admit, "choose": _choose, "compose": _compose, "deliver": _deliver, "learn": _learn,
}


def logic_of(stage: str, deps: Deps) -> StageLogic:
    """The logic of `stage`, ready to walk. Raises SetupError when a secret is missing."""
    return _BUILD[stage](deps)


def rehearse(stages: Sequence[str], settings: Settings) -> None:
    """Have ready the compiled code that these stages need. Nothing leaves the process. Blocks: for
    about half a minute where nothing was compiled before."""
    rehearsal.rehearse()
    if "choose" in stages:
        choose_rehearsal.rehearse(compiled(settings.definitions),
                                  spills=bool(settings.profile_memory_mb))
