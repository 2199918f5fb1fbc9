"""Definitions in Python are those of YAML: the same specs, layouts and faults."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.choose import declaring
from streams.choose.definitions import Definitions, check, form, load
from streams.choose.definitions.sources import SHIPPED
from streams.choose.program import Program
from streams.kernel.errors import KairosError
from streams.settings import PROJECT

HEAD = 'from streams.choose.declaring import about, entity, feature, segment\n'
ABOUT = 'about(version=1, purpose="personalise")\n'
VIEWS = 'feature("views", event="view", kind="count", window="1d")\n'

SPANS = st.sampled_from(["5m", "1h", "90m", "1d", "7d", "30d", "1.5d", "8w"])
NUMBERS = st.sampled_from(["value", "quantity", "property.tip"])
FIELDS = st.sampled_from(["item_id", "category", "country", "property.size"])
COMMON: dict[str, Any] = {
    "event": st.sampled_from(["*", "view", "purchase"]),
    "max_age": SPANS, "purpose": st.sampled_from(["measure", "personalise", "contact", "train"]),
    "retention": st.sampled_from(["100d", "400d", "800d"]),
    "where": st.builds(lambda field, text: {field: text}, FIELDS,
                       st.text("aZ0 \"'\\{}:#é\u2028", min_size=1, max_size=8))}


def bodies() -> st.SearchStrategy[dict[str, Any]]:
    def of(kinds: list[str], optional: tuple[str, ...] = (),
           **needs: Any) -> st.SearchStrategy[dict[str, Any]]:
        keys = {"kind": st.sampled_from(kinds), "event": COMMON["event"],
                **{key: each for key, each in needs.items() if key not in optional}}
        more = {key: each for key, each in (COMMON | needs).items() if key not in keys}
        return st.fixed_dictionaries(keys, optional=more)

    rising = st.lists(st.integers(1, 999), min_size=4, max_size=4, unique=True).map(sorted)
    return st.one_of(
        of(["count", "rate"], ("back_off",), window=SPANS,
           back_off=st.builds(lambda n: {"below": n}, st.integers(1, 1000))),
        of(["sum", "mean", "variance", "min", "max"], window=SPANS, of=NUMBERS),
        of(["lifetime", "since", "mean_gap"]), of(["first", "last"], of=NUMBERS),
        of(["decay"], ("of",), half_life=st.sampled_from(["1m", "3d", "100d"]), of=NUMBERS),
        of(["distinct"], ("of",), window=SPANS, of=FIELDS),
        of(["most_frequent"], window=SPANS, of=FIELDS),
        of(["top_k"], ("most",), window=SPANS, of=FIELDS, most=st.integers(1, 5)),
        of(["sessions"], window=st.sampled_from(["1d", "7d"]), gap=st.sampled_from(["30m", "1h"])),
        of(["session"], gap=SPANS.filter(lambda span: span in ("5m", "1h")),
           of=st.sampled_from(["length", "events", "value"])),
        of(["rfm"], window=SPANS, of=NUMBERS, frequency=rising,
           recency=rising.map(lambda days: [f"{n}h" for n in days]),
           money=rising.map(lambda cuts: [n / 2 for n in cuts])))


def declared() -> st.SearchStrategy[dict[str, Any]]:
    """The whole of both YAML files, as data."""
    rules = st.one_of(
        st.builds(lambda n: {"feature": "f0", "at_least": n}, st.integers(0, 9) | st.floats(0, 9)),
        st.builds(lambda a, b: {"any": [{"not": {"trait": "country", "is": [a, "AT"]}},
                                        {"bucket": {"name": "b", "from": 0, "to": b}}]},
                  st.sampled_from(["DE", "no"]), st.integers(1, 100)))
    return st.fixed_dictionaries({
        "features": st.lists(bodies(), max_size=6).map(
            lambda made: {f"f{n}": body for n, body in enumerate(
                [{"event": "view", "kind": "count", "window": "7d"}, *made])}),
        "segments": st.lists(rules, min_size=1, max_size=3).map(
            lambda made: {f"s{n}": rule for n, rule in enumerate(made)}),
        "entities": st.just({"item": {"keep": 100}}), "retention": st.sampled_from(["90d", "800d"]),
        "version": st.integers(1, 10**6)})


def in_yaml(folder: Path, whole: dict[str, Any]) -> Path:
    """JSON is YAML."""
    about = {"version": whole["version"], "purpose": "personalise",
             "retention": whole["retention"]}
    (folder / "features.yml").write_text(json.dumps(
        {**about, "features": whole["features"], "entities": whole["entities"]}), "utf-8")
    (folder / "segments.yml").write_text(json.dumps(
        {"version": whole["version"], "segments": whole["segments"]}), "utf-8")
    return folder


def in_python(folder: Path, whole: dict[str, Any]) -> Path:
    lines = [f"about(version={whole['version']}, purpose='personalise', "
             f"retention={whole['retention']!r})"]
    for what, key in (("feature", "features"), ("entity", "entities")):
        lines += [f"{what}({name!r}, {', '.join(f'{k}={v!r}' for k, v in body.items())})"
                  for name, body in whole[key].items()]
    lines += [f"segment({name!r}, {rule!r})" for name, rule in whole["segments"].items()]
    (folder / "all.py").write_text(HEAD + "\n".join(lines), "utf-8")
    return folder


def layouts(found: Definitions) -> list[tuple[int, str]]:
    program = Program(found.features, found.segments, entities=found.entities)
    return [(layout.id, layout.description) for layout in (program.people, program.groups)]


@given(declared())
def test_what_is_declared_in_python_is_what_yaml_declares(whole: dict[str, Any]) -> None:
    whole["features"]["sold"] = {"entity": "item", "event": "purchase", "kind": "sum",
                                 "of": "quantity", "window": "7d", "bestseller_from": 50}
    whole["features"]["again"] = {"event": "buy", "kind": "lifetime"}
    whole["features"]["per"] = {"kind": "ratio", "of": ["f0", "again"]}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        yaml, python = in_yaml(Path(one), whole), in_python(Path(other), whole)
        faults = [[re.sub(r"^\S+:\d+: ", "", str(each)) for each in check(folder)]
                  for folder in (yaml, python)]
        assert sorted(faults[0]) == sorted(faults[1])
        if not faults[0]:
            first, second = load(yaml), load(python)
            assert first == second and repr(first) == repr(second)
            assert layouts(first) == layouts(second)


def test_the_shipped_definitions_moved_to_python_migrate_nothing(tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    features, segments = (YAML(typ="safe").load(SHIPPED / name)
                          for name in ("features.yml", "segments.yml"))
    for name, whole in (("features", features), ("segments", segments)):
        lines = [f"about(version={whole['version']}" + (
            f", purpose={whole['purpose']!r})" if name == "features" else ")")]
        lines += [f"feature({each!r}, **{body!r})" if name == "features"
                  else f"segment({each!r}, {body!r})" for each, body in whole[name].items()]
        (tmp_path / f"{name}.py").write_text(HEAD + "\n".join(lines))
    assert load(tmp_path) == load() and load(tmp_path).versions == load().versions
    assert layouts(load(tmp_path)) == layouts(load())


def folder_with(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / name.replace("_yml", ".yml").replace("_py", ".py")).write_text(text)
    return path


def fault_of(folder: Path) -> str:
    (fault,) = check(folder)
    with pytest.raises(KairosError) as raised:
        load(folder)
    assert str(raised.value) == str(fault)
    return str(fault)


@pytest.mark.parametrize(("text", "said"), [
    ("about(version=1\n", r"own.py:2: this is not Python: '\(' was never closed — check"),
    ("\n\nimport no_such_thing\n", r"own.py:4: ModuleNotFoundError: No module named 'no_such_thing'"
     " — import what is installed"),
    (f"{ABOUT}x = [\n1,\n2 / 0]\n", r"own.py:5: ZeroDivisionError: division by zero — mend it"),
    (f"{ABOUT}def f(n):\n    raise ValueError('a\\nb')\nf(1)\n", r"own.py:4: ValueError: a b — "),
    ("exit(3)\n", "own.py:2: (NameError|SystemExit): .*3? — mend it"),
    ("raise SystemExit(3)\n", "own.py:2: SystemExit: 3 — mend it"),
    (f"{ABOUT}feature(\n    'views', event='view',\n    kind='count', windw='1d')\n",
     r"own.py:3: 'features.views.windw' is not a field — did you mean 'window'\?"),
    (f"{ABOUT}feature('views', 'view')\n", "own.py:3: TypeError: feature.* takes 1 positional"),
    (f"{ABOUT}feature(event='view')\n", "own.py:3: TypeError: feature.* missing 1 required"),
    (f"{ABOUT}feature('Views', event='v', kind='since')\n", "own.py:3: a name in features 'V"),
    (f"{ABOUT}feature(7, event='view', kind='since')\n", "own.py:3: a feature has the name 7 — "),
    (f"{ABOUT}feature('views', event='view', kind='count', window='500d')\n",
     "own.py:3: features.views.window is 500d — write 5m to 400d"),
    (f"{ABOUT}feature('views', event='view', kind='count', window=7)\n",
     "own.py:3: features.views.window '7' is not a span — "),
    (f"{ABOUT}feature('views', event='view', kind='count', window={{7}})\n",
     r"own.py:3: feature 'views' holds \{7\}, which YAML could not say — .*spans are texts"),
    (f"{ABOUT}feature('views', event='view', kind='sum', of='price', window='7d')\n",
     "own.py:3: features.views: a sum is not of price — write of: value, quantity or"),
    (f"{ABOUT}feature('per', kind='ratio', of=['views', 'views'])\n", "own.py:3: features.per.of"),
    (f"{ABOUT}{VIEWS}feature('per', kind='ratio', of=['views', 'buys'])\n",
     "own.py:4: features.per: 'buys' is no feature before it — declare it above"),
    (f"{ABOUT}{VIEWS}{VIEWS}", "own.py:4: feature 'views' is declared twice, first in line 3"),
    (f"{ABOUT}{ABOUT}{VIEWS}", r"own.py:3: about\(...\) stands in line 2 already — keep one"),
    (VIEWS, r"own.py:1: nothing says which version of the file this is — write about\(version=1"),
    (f"about(version=1)\n{VIEWS}", "own.py:2: 'about.purpose' is missing — what the features may"),
    (f"about(version=1, purpose='personalise', features={{}})\n{VIEWS}",
     "own.py:2: 'about.features' is not a field"),
    (f"about(version=0, purpose='personalise')\n{VIEWS}", "own.py:2: about.version is 0 — write"),
    ("x = 1\n", "own.py:1: nothing is declared — call feature"),
    (f"{ABOUT}segment('keen', {{'feature': 'views', 'at_least': 3}})\n{VIEWS}"
     "segment('late', {'feature': 'view', 'at_least': 3})\n",
     "own.py:5: segments.late: .*view.* — there are views"),
    (f"{ABOUT}{VIEWS}segment('keen', 'views')\n", "own.py:4: segments.keen"),
    (f"{ABOUT}feature('sold', entity='item', event='buy', kind='count', window='1d')\n",
     "own.py:3: features.sold: nothing says how many of 'item' to keep"),
    (f"import sys\nsys.path.append('/x')\n{ABOUT}{VIEWS}", "own.py:1: it changes sys.path — leave"),
    (f"import sys\nsys.path = []\n{ABOUT}{VIEWS}", "own.py:1: it changes sys.path — leave"),
    (f"import sys\ndel sys.modules['json']\n{ABOUT}{VIEWS}",
     "own.py:1: it takes json out of sys.modules or replaces it — leave that out"),
    (f"import time\n{ABOUT}feature(f'v{{time.monotonic_ns()}}', event='v', kind='since')\n",
     "own.py:1: it declares something else whenever it is run — leave out"),
])
def test_faults_have_file_line_and_remedy(text: str, said: str, tmp_path: Path) -> None:
    search, at, modules = [*sys.path], sys.path, dict(sys.modules)
    found = fault_of(folder_with(tmp_path, own_py=HEAD + text, segments_yml=(
        "version: 1\nsegments:\n  all: {bucket: {name: a, from: 0, to: 100}}\n")))
    assert re.search(said, found), found
    assert sys.path is at and sys.path == search
    assert {name: sys.modules.get(name) for name in modules} == modules


def test_every_name_is_declared_once_in_all_files(tmp_path: Path) -> None:
    yaml = "version: 4\npurpose: personalise\nfeatures:\n  views: {event: v, kind: lifetime}\n"
    keen = 'segment("keen", {"feature": "views", "at_least": 3})\n'
    folder_with(tmp_path, features_yml=yaml, a_py=HEAD + ABOUT + VIEWS + keen,
                b_py=HEAD + ABOUT + keen)
    first, second = map(str, check(tmp_path))
    assert f"a.py:3: features.views is declared twice, first in {tmp_path}/features.yml:4" in first
    assert f"b.py:3: segments.keen is declared twice, first in {tmp_path}/a.py:4" in second


def test_files_stand_beside_each_other(tmp_path: Path) -> None:
    """YAML first, then Python by name; versions add up; what a name with _ holds is not read."""
    yaml = "version: 4\npurpose: measure\nfeatures:\n  views: {event: v, kind: lifetime}\n"
    folder_with(
        tmp_path, features_yml=yaml, _not_py="raise ValueError",
        b_py=HEAD + 'about(version=2, purpose="train")\n'
        'per = feature("per", kind="ratio", of=["buys", "views"])\n'
        'segment("keen", {"feature": per, "at_least": 3})\n',
        a_py=HEAD + ABOUT + 'feature("buys", event="buy", kind="lifetime")\n')
    found = load(tmp_path)
    assert [(each.name, each.purpose) for each in found.features] == [
        ("views", "measure"), ("buys", "personalise"), ("per", "train")]
    assert found.versions == (7, 2) and found.segment_names == {"keen"}
    (tmp_path / "b.py").unlink()                # what nobody declares is shipped, or cannot stand
    assert all("segments.yml" in str(each) for each in check(tmp_path))
    assert {"views", "buys"} == {each.name for each in load_features(tmp_path)}


def load_features(folder: Path) -> Any:
    (folder / "segments.yml").write_text(
        "version: 1\nsegments:\n  a: {bucket: {name: a, from: 0, to: 9}}\n")
    return load(folder).features


def test_all_files_together_have_an_end(tmp_path: Path) -> None:
    many = 'for n in range(150):\n    feature(f"{P}{n}", event="v", kind="lifetime")\n'
    folder_with(tmp_path, a_py=HEAD + ABOUT + "P = 'a'\n" + many,
                b_py=HEAD + ABOUT + "P = 'b'\n" + many)
    faults = [str(each) for each in check(tmp_path) if "segments.yml" not in str(each)]
    (fault,) = faults
    assert "b.py:5: features.b50: all files together declare more than 200 features" in fault


def test_what_a_package_declares_while_it_is_imported_is_refused(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second reading would not hear of it: packages are imported once."""
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "declares_views.py").write_text(
        HEAD + VIEWS + "def more():\n    feature('buys', event='buy', kind='lifetime')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    own = HEAD + ABOUT + "\nimport declares_views\ndeclares_views.more()\n"
    said = fault_of_first(folder_with(tmp_path, own_py=own))
    assert "own.py:4: feature 'views' is declared by declares_views while it is imported" in said
    package = tmp_path / "installed" / "declares_views.py"
    package.write_text(package.read_text().replace(VIEWS, ""))
    del sys.modules["declares_views"]
    assert [each.name for each in load_features(tmp_path)] == ["buys"]
    del sys.modules["declares_views"]


def fault_of_first(folder: Path) -> str:
    return str(check(folder)[0])


def test_a_file_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_with(tmp_path, own_py=HEAD + ABOUT + VIEWS + "print('said')\n"
                "from dataclasses import dataclass\n@dataclass\nclass Kept:\n    n: int\n")
    before, cwd = set(sys.modules), os.getcwd()
    load_features(tmp_path)
    assert set(sys.modules) == before and os.getcwd() == cwd
    assert sorted(each.name for each in tmp_path.iterdir()) == ["own.py", "segments.yml"]
    assert capsys.readouterr().out == ""
    assert declaring.OPEN.get() is None


def test_outside_of_a_folder_nothing_is_declared(tmp_path: Path) -> None:
    with pytest.raises(KairosError, match=r"feature\(...\) declares nothing outside .*kairos plan"):
        declaring.feature("views", event="view", kind="lifetime")
    folder_with(tmp_path, own_py=HEAD + ABOUT + VIEWS)
    found: list[Any] = []
    readers = [threading.Thread(target=lambda: found.append(load(tmp_path).features))
               for _ in range(4)]
    (tmp_path / "segments.yml").write_text(
        "version: 1\nsegments:\n  a: {bucket: {name: a, from: 0, to: 9}}\n")
    said = sys.stdout
    for each in readers:
        each.start()
    for each in readers:
        each.join()
    assert sys.stdout is said and not sys.stdout.closed
    assert len(found) == 4 and all(each == found[0] and len(each) == 1 for each in found)


def test_the_constructors_know_the_keys_of_yaml() -> None:
    assert set(get_type_hints(declaring.Feature)) == set(form.FEATURE.keys)
    assert set(get_type_hints(declaring.About)) == set(form.about(of_features=True).keys)
    entity = form.FEATURES.keys["entities"].shape
    assert set(get_type_hints(declaring.Entity)) == set(entity.shape.keys)  # type: ignore[attr-defined]


def test_the_example_of_the_docs_holds(tmp_path: Path) -> None:
    text = (PROJECT / "docs/features.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    found = load(folder_with(tmp_path, own_py=example))
    assert found.segment_names and {"views_7d", "views_30d"} <= set(found.feature_names)
