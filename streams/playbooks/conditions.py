"""Conditions over features and segments: from plain YAML values to a tree, and its truth.

    {feature: spend_30d, at_least: 200}     {segment: vip}
    {all: [...]}   {any: [...]}   {not: ...}
    {feature: favourite_category, is: shoes}     {feature: last_categories, has: [shoes, hats]}

and in segments.yml only, a random share of people: {bucket: {name: spring, from: 0, to: 20}},
learned kinds of people: {cluster: NAME}, what people say of themselves: {trait: country, is: DE},
and lists of people: {list: NAME}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.playbooks.model import Condition

_BUCKET_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
TRAITS = ("country", "locale", "timezone")       # as admitted events carry them
COMPARES = ("at_least", "at_most", "above", "below", "equals", "every")
# Of features whose value is a text, and of those whose value is a list of texts.
TEXT_COMPARES: Final = {"text": "is", "texts": "has"}
TEXT_BYTES_MAX = 40                              # what rows keep of longer ones is cut
_SIGNS = {"at_least": "≥", "at_most": "≤", "above": ">", "below": "<", "equals": "=",
          "every": "a multiple of"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What only segments.yml may ask for, beside random buckets and traits; None: any name.

    clusters   learned kinds of people
    lists      lists of people
    """

    clusters: Collection[str] | None = ()
    lists: Collection[str] | None = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a person beside features and segments.

    place       where they stand in a bucket, at least 0 and below 100; None: no person is asked
    in_cluster  whether a learned cluster is theirs
    trait       their trait of a name, '' when it is not known
    in_list     whether they are on a list
    was_in      whether they were in a segment so far
    texts       the texts of a feature, none where it has no value
    """

    place: Callable[[str], float | None] = lambda bucket: None
    in_cluster: Callable[[str], bool] = lambda cluster: False
    trait: Callable[[str], str] = lambda name: ""
    in_list: Callable[[str], bool] = lambda name: False
    was_in: Callable[[str], bool] = lambda segment: False
    texts: Callable[[str], Collection[str]] = lambda feature: ()


NOTHING_KNOWN: Final = Known()


def parse_condition(body: Any, *, features: Collection[str] | None,
                    segments: Collection[str] | None, asked: Asked | None = None) -> Condition:
    """The tree of `body`. None for `features` or `segments` accepts any name; as a mapping
    `features` says what each value is (number, text, texts). `asked`: what else may be asked for,
    where it is a segment's rule.

    Raises ValueError with a sentence that names the key at fault and what it takes.
    """
    if not isinstance(body, dict):
        raise ValueError(f"a condition is a mapping like {{feature: NAME, at_least: 3}}, "
                         f"not {body!r}")
    for op in ("all", "any"):
        if op in body:
            if set(body) != {op} or not isinstance(body[op], list) or not body[op]:
                raise ValueError(f"'{op}' stands alone and takes a list of conditions")
            return Condition(op, tuple(parse_condition(
                part, features=features, segments=segments, asked=asked) for part in body[op]))
    if "not" in body:
        if set(body) != {"not"}:
            raise ValueError("'not' stands alone and takes one condition")
        return Condition("not", (parse_condition(body["not"], features=features,
                                                 segments=segments, asked=asked),))
    for op in ("bucket", "cluster", "trait", "list"):
        if op in body:
            return _of_segments(op, body, asked)
    if "segment" in body:
        return _segment(body, segments)
    if "feature" in body:
        return _feature(body, features)
    raise ValueError(f"a condition has one of feature, segment, all, any, not, "
                     f"and here is {', '.join(map(str, body)) or 'nothing'}")


def _of_segments(op: str, body: dict[str, Any], asked: Asked | None) -> Condition:
    if asked is None:
        raise ValueError(f"only segments.yml asks for a {op}: declare a segment of it there, and "
                         "ask for {segment: NAME}")
    if op == "bucket":
        return _bucket(body)
    if op == "trait":
        return _trait(body)
    return _cluster(body, asked.clusters) if op == "cluster" else _list(body, asked.lists)


def _segment(body: dict[str, Any], known: Collection[str] | None) -> Condition:
    if set(body) != {"segment"}:
        raise ValueError("'segment' stands alone in its condition")
    _check_known("segment", body["segment"], known)
    return Condition("segment", name=str(body["segment"]))


def _feature(body: dict[str, Any], known: Collection[str] | None) -> Condition:
    _check_known("feature", body["feature"], known)
    compares = [key for key in body if key != "feature"]
    allowed = (*COMPARES, *TEXT_COMPARES.values())
    if len(compares) != 1 or compares[0] not in allowed:
        raise ValueError(f"a feature is compared by exactly one of {', '.join(allowed)}")
    fault = compare_fault(body["feature"], compares[0], known)
    if fault:
        raise ValueError(fault)
    if compares[0] in TEXT_COMPARES.values():
        return _texts(body, compares[0])
    number = body[compares[0]]
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{compares[0]} takes a number, not {number!r}")
    if compares[0] == "every" and number <= 0:
        raise ValueError(f"every is {number:g}; write a number above 0")
    return Condition("feature", name=str(body["feature"]), compare=compares[0],  # type: ignore[arg-type]
                     number=float(number))


def compare_fault(name: Any, compare: str, features: Collection[str] | None) -> str:
    """Why a feature cannot be compared so, where it is known what its value is; or ''."""
    is_a = features.get(name, "") if isinstance(features, Mapping) else ""
    goes = compare not in TEXT_COMPARES.values() if is_a == "number" else (
        not is_a or compare == TEXT_COMPARES[is_a])
    if goes:
        return ""
    takes = {"number": f"one of {', '.join(COMPARES)}", "text": "is: TEXT", "texts": "has: TEXT"}
    called = {"number": "a number", "text": "a text", "texts": "a list of texts"}[is_a]
    return f"'{compare}' does not go with {name}, which is {called}: write {takes[is_a]}"


def _texts(body: dict[str, Any], compare: str) -> Condition:
    """A feature that is a text, or has it among its texts; of several texts, any."""
    texts = body[compare] if isinstance(body[compare], list) else [body[compare]]
    if not texts or any(not isinstance(text, str) or not 0 < len(text.encode()) <= TEXT_BYTES_MAX
                        for text in texts):
        raise ValueError(f"{compare!r} takes a text of up to {TEXT_BYTES_MAX} bytes, or a list of "
                         f"such, not {body[compare]!r}")
    found = tuple(Condition("feature", name=str(body["feature"]), compare=compare,  # type: ignore[arg-type]
                            text=text) for text in texts)
    return found[0] if len(found) == 1 else Condition("any", found)


def _cluster(body: dict[str, Any], known: Collection[str] | None) -> Condition:
    if set(body) != {"cluster"}:
        raise ValueError("'cluster' stands alone in its condition")
    if known is not None and not known:
        raise ValueError("there is no clusters.yml beside segments.yml to ask for clusters of; "
                         "learn some: `kairos segments learn`")
    _check_known("cluster", body["cluster"], known)
    return Condition("cluster", name=str(body["cluster"]))


def _list(body: dict[str, Any], known: Collection[str] | None) -> Condition:
    if set(body) != {"list"}:
        raise ValueError("'list' stands alone in its condition")
    if known is not None and not known:
        raise ValueError("there is no list in a folder 'lists' beside segments.yml; make one: "
                         "`kairos segments list`")
    _check_known("list", body["list"], known)
    return Condition("list", name=str(body["list"]))


def _trait(body: dict[str, Any]) -> Condition:
    """Of several texts, any."""
    if set(body) != {"trait", "is"}:
        raise ValueError("'trait' takes {trait: country, is: DE}, or is: [DE, AT]")
    _check_known("trait", body["trait"], TRAITS)
    texts = body["is"] if isinstance(body["is"], list) else [body["is"]]
    if not texts or any(not isinstance(text, str) or not text for text in texts):
        raise ValueError(f"'is' takes a text or a list of texts, not {body['is']!r}")
    found = tuple(Condition("trait", name=body["trait"], text=text) for text in texts)
    return found[0] if len(found) == 1 else Condition("any", found)


def _bucket(body: dict[str, Any]) -> Condition:
    """`from` and `to` as two comparisons of the person's place in the bucket."""
    asked = body["bucket"]
    if set(body) != {"bucket"} or not isinstance(asked, dict) or set(asked) != {
            "name", "from", "to"}:
        raise ValueError("'bucket' stands alone and takes {name: NAME, from: 0, to: 20}, in "
                         "percent")
    name, ends = asked["name"], (asked["from"], asked["to"])
    if not isinstance(name, str) or not _BUCKET_NAME.fullmatch(name):
        raise ValueError(f"a bucket's name has lower-case letters, digits and _, at most 60, not "
                         f"{name!r}")
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends):
        raise ValueError(f"'from' and 'to' of a bucket are percent, not {ends[0]!r} and "
                         f"{ends[1]!r}")
    if not 0 <= ends[0] < ends[1] <= 100:
        raise ValueError(f"a bucket goes from 0 up to 100 percent, not from {ends[0]:g} to "
                         f"{ends[1]:g}")
    return Condition("all", (
        Condition("bucket", name=name, compare="at_least", number=float(ends[0])),
        Condition("bucket", name=name, compare="below", number=float(ends[1]))))


def _check_known(kind: str, name: Any, known: Collection[str] | None) -> None:
    if known is not None and name not in known:
        raise ValueError(f"unknown {kind} {name!r}; " + (
            f"there are {', '.join(sorted(known))}" if known else f"there is no {kind} before it"))


def holds(condition: Condition, feature: Callable[[str], float | None],
          in_segment: Callable[[str], bool], known: Known = NOTHING_KNOWN) -> bool:
    """The truth of `condition`. A feature without a value makes its own test false."""
    if condition.op == "all":
        return all(holds(part, feature, in_segment, known) for part in condition.parts)
    if condition.op == "any":
        return any(holds(part, feature, in_segment, known) for part in condition.parts)
    if condition.op == "not":
        return not holds(condition.parts[0], feature, in_segment, known)
    if condition.op == "segment":
        return in_segment(condition.name)
    if condition.op == "cluster":
        return known.in_cluster(condition.name)
    if condition.op == "list":
        return known.in_list(condition.name)
    if condition.op == "was":
        return known.was_in(condition.name)
    if condition.op == "trait":
        return known.trait(condition.name) == condition.text
    if condition.op == "feature" and condition.text:
        return condition.text in known.texts(condition.name)
    value = (known.place(condition.name) if condition.op == "bucket"
             else feature(condition.name))
    return value is not None and _compare(condition.compare, value, condition.number)


def _compare(compare: str, value: float, number: float) -> bool:
    if compare == "at_least":
        return value >= number
    if compare == "at_most":
        return value <= number
    if compare == "above":
        return value > number
    if compare == "below":
        return value < number
    if compare == "every":
        return value > 0 and number > 0 and value % number == 0
    return value == number


def features_in(condition: Condition) -> set[str]:
    """Names of all features that `condition` reads."""
    return names_in(condition, "feature")


def names_in(condition: Condition, op: str) -> set[str]:
    """Names of all features, segments, clusters, lists ... (`op`) that `condition` asks for."""
    if condition.op == op:
        return {condition.name}
    return set().union(*(names_in(part, op) for part in condition.parts))


def show_condition(condition: Condition) -> str:
    """The condition as people read it."""
    if condition.op == "cluster":
        return f"of the kind {condition.name}"
    if condition.op in ("segment", "was"):
        return f"{'in' if condition.op == 'segment' else 'already in'} {condition.name}"
    if condition.op == "list":
        return f"on the list {condition.name}"
    if condition.op == "trait":
        return f"{condition.name} is {condition.text}"
    if condition.op == "feature" and condition.text:
        return f"{condition.name} {condition.compare} {condition.text}"
    if condition.op == "feature":
        return f"{condition.name} {_SIGNS[condition.compare]} {condition.number:g}"
    if condition.op == "bucket":
        return f"bucket {condition.name} {_SIGNS[condition.compare]} {condition.number:g} %"
    if condition.op == "not":
        return f"not ({show_condition(condition.parts[0])})"
    word = " and " if condition.op == "all" else " or "
    return "(" + word.join(show_condition(part) for part in condition.parts) + ")"
