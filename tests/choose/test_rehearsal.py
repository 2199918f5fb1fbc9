"""After a rehearsal nothing is compiled, or read from disk, for what really comes.

Each case is a process of its own: in this one, other tests have compiled whatever they needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FEATURES = """
version: 1
purpose: personalise
entities: {item: {keep: 1000}, category: {keep: 1000}, campaign: {keep: 1000}}
features:
  product_views_1h: {event: product_view, kind: count, window: 1h}
  views_7d:   {event: product_view, kind: count, window: 7d, back_off: {below: 3}}
  spend_30d:  {event: purchase, kind: sum, of: value, window: 30d, back_off: {below: 2}}
  tips:       {event: purchase, kind: mean, of: property.tip, window: 30d}
  warm:       {event: '*', kind: decay, half_life: 1d}
  items_30d:  {event: '*', kind: distinct, window: 30d}
  orders:     {event: purchase, kind: lifetime}
  gap:        {event: purchase, kind: mean_gap}
  since:      {event: purchase, kind: since, max_age: 400d}
  per_view:   {kind: ratio, of: [orders, views_7d]}
  rfm:        {event: purchase, kind: rfm, of: value, window: 30d, recency: [1h, 1d, 7d, 30d],
               frequency: [2, 3, 4, 5], money: [1, 2.5, 30, 400]}
  visits:     {event: '*', kind: sessions, gap: 30m, window: 7d}
  favourite:  {event: product_view, kind: most_frequent, of: category, window: 30d}
  campaigns:  {event: '*', kind: unique_list, of: property.campaign, window: 30d}
  item_views: {entity: item, event: product_view, kind: count, window: 1d}
  item_sold:  {entity: item, event: purchase, kind: sum, of: quantity, window: 30d}
  cat_views:  {entity: category, event: product_view, kind: count, window: 1d}
  camp_views: {entity: campaign, event: '*', kind: count, window: 1d}
"""
SEGMENTS = """
version: 1
segments:
  rich: {all: [{feature: spend_30d, at_least: 100}, {trait: country, is: DE}]}
  keen: {feature: views_7d, at_least: 3}
  hats: {feature: favourite, is: hats}
  half: {bucket: {name: test, from: 0, to: 50}}
"""
HERE = Path(__file__).resolve().parent
FOLDERS = (HERE.parent.parent, HERE, HERE.parent / "simulation")


def signatures_added(folder: Path | None, *, memory_mb: int, tmp_path: Path) -> str:
    """What real batches compile in a process that has rehearsed."""
    settings = {"PYTHONPATH": os.pathsep.join(map(str, FOLDERS)),
                "KAIROS_HOME": str(tmp_path / "home"),
                "KAIROS_PROFILE_MEMORY_MB": str(memory_mb)}
    if folder is not None:
        settings["KAIROS_DEFINITIONS"] = str(folder)
    others = {key: value for key, value in os.environ.items() if not key.startswith("KAIROS_")}
    ran = subprocess.run([sys.executable, str(HERE / "rehearsed.py")], text=True, check=False,
                         capture_output=True, env={**others, **settings})
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert not any((tmp_path / "home").rglob("*")), "nothing is written"
    return ran.stdout


@pytest.mark.parametrize("memory_mb", [0, 1])
@pytest.mark.parametrize("own", [False, True])
def test_real_batches_compile_nothing(own: bool, memory_mb: int, tmp_path: Path) -> None:
    folder = None
    if own:
        folder = tmp_path / "definitions"
        folder.mkdir()
        (folder / "features.yml").write_text(FEATURES)
        (folder / "segments.yml").write_text(SEGMENTS)
    told = signatures_added(folder, memory_mb=memory_mb, tmp_path=tmp_path)
    assert told.split("\n", 1)[0].startswith("heard "), told
    assert told.split("\n")[1:] == [""], told
