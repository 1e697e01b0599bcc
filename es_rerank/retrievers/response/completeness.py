"""What the requests of one search left out: failed shards, clusters and timeouts. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_WHERE = {
    "first_stage": "in the first stage",
    "rescore": "when the hits were rescored",
    "passages": "when the texts were fetched",
    "page": "when the page was fetched",
    "groups": "when the collapsed groups were fetched",
    "aggregations": "when the aggregations were computed",
    "explain": "when the scores were explained",
}
"""How a reason names a stage of the search. Any other stage is the search as a whole."""

_OPENING = "point_in_time"


def _object(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 a response that a caller sends may hold anything
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int:  # noqa: ANN401 see above
    return value if isinstance(value, int) else 0


class _Seen(NamedTuple):
    stage: str
    answer: Mapping[str, Any]

    def shards(self, state: str) -> int:
        """Return how many shards are in a state; ``total`` for all."""
        return _count(_object(self.answer.get("_shards")).get(state))

    @property
    def failures(self) -> list[Mapping[str, Any]]:
        listed = _object(self.answer.get("_shards")).get("failures")
        return [_object(failure) for failure in listed] if isinstance(listed, list) else []

    @property
    def where(self) -> str:
        return _WHERE.get(self.stage, "in the search")


@dataclass(slots=True)
class Completeness:
    """The answers of Elasticsearch to the requests of one search, as far as they say what is missing."""

    _seen: list[_Seen] = field(default_factory=list)

    def see(self, stage: str, answer: Mapping[str, Any]) -> None:
        """Take note of an answer, or of each answer of an ``_msearch``. ``stage`` is that of the request.

        Shards that a point in time lacks fail in each search of it, so opening it says nothing more.
        """
        responses = answer.get("responses")
        for one in responses if isinstance(responses, list) else (answer,):
            if isinstance(one, Mapping) and "_shards" in one and stage != _OPENING:
                self._seen.append(_Seen(stage, one))

    def reasons(self) -> list[str]:
        """Return why the answer is incomplete, one sentence for each fault; empty if it is complete.

        A fault that several requests report is told once, for the first of them.
        """
        told: dict[Any, str] = {}
        for seen in self._seen:
            for fault, sentence in _faults(seen):
                told.setdefault(fault, f"{sentence[0]} {seen.where}{sentence[1]}")
        return list(told.values())

    def merged(self) -> dict[str, Any]:
        """Return ``_shards``, ``timed_out``, ``terminated_early`` and ``_clusters`` of all requests together.

        They have Elasticsearch's shapes. A key that no answer has is left out.
        """
        if not self._seen:
            return {}
        early = [seen.answer["terminated_early"] for seen in self._seen if "terminated_early" in seen.answer]
        clusters = [_object(seen.answer["_clusters"]) for seen in self._seen if "_clusters" in seen.answer]
        return {
            "timed_out": any(seen.answer.get("timed_out") for seen in self._seen),
            **({"terminated_early": any(early)} if early else {}),
            "_shards": self._shards(),
            **({"_clusters": max(reversed(clusters), key=_incomplete)} if clusters else {}),
        }

    def _shards(self) -> dict[str, Any]:
        """Return one header for searches of the same shards.

        ``skipped`` counts the shards that every search skipped. ``failed`` counts the shards that failed in
        at least one request.
        """
        total = max(seen.shards("total") for seen in self._seen)
        failed = min(total, _failed(self._seen))
        grouped: dict[Any, Mapping[str, Any]] = {}
        for seen in self._seen:
            for failure in seen.failures:
                grouped.setdefault(_group(failure), failure)
        return {
            "total": total,
            "successful": total - failed,
            "skipped": min(seen.shards("skipped") for seen in self._seen),
            "failed": failed,
            **({"failures": list(grouped.values())} if grouped else {}),
        }


def _failed(answers: Sequence[_Seen]) -> int:
    """Return how many shards failed in at least one request.

    Elasticsearch lists one failure for each index and cause, and counts all shards. So requests that failed
    in the same index are taken to have failed in the same shards, except those that are named. A request
    that counts shards and names none is taken to have failed in the shards of the others.
    """
    groups: list[tuple[set[str], list[_Seen]]] = []
    for seen in answers:
        indices, members = {str(failure.get("index")) for failure in seen.failures}, [seen]
        if not indices:
            continue
        apart = []
        for group in groups:
            if group[0] & indices:
                indices, members = indices | group[0], members + group[1]
            else:
                apart.append(group)
        groups = [*apart, (indices, members)]
    named = sum(_failed_together(members) for _, members in groups)
    return max(named, *(seen.shards("failed") for seen in answers))


def _failed_together(answers: Sequence[_Seen]) -> int:
    named = {f"{each.get('index')}[{each.get('shard')}]" for seen in answers for each in seen.failures}
    return max(len(named), *(seen.shards("failed") for seen in answers))


def _group(failure: Mapping[str, Any]) -> tuple[str, str, str]:
    reason = _object(failure.get("reason"))
    return str(failure.get("index")), str(reason.get("type")), str(reason.get("reason"))


def _faults(seen: _Seen) -> Iterator[tuple[Any, tuple[str, str]]]:
    """Yield the faults of one answer: what identifies it, and its sentence before and after the stage."""
    if failed := seen.shards("failed"):
        cause = _cause(seen.failures)
        known = frozenset(map(_group, seen.failures)) or seen.stage
        yield known, (f"{failed} of {seen.shards('total')} shards failed", f": {cause}" if cause else "")
    clusters = _object(seen.answer.get("_clusters"))
    if missing := _incomplete(clusters):
        details = _object(clusters.get("details"))
        names = [name for name, detail in details.items() if _object(detail).get("status") != "successful"]
        yield (
            ("clusters", *names),
            (
                f"{missing} of {clusters.get('total')} clusters gave no complete answer",
                f": {', '.join(names)}" if names else "",
            ),
        )
    if seen.answer.get("timed_out"):
        yield "timed_out", ("Elasticsearch's timeout passed", "; hits may be missing")


def _cause(failures: Sequence[Mapping[str, Any]]) -> str:
    reason = _object(failures[0].get("reason")) if failures else {}
    return str(reason.get("reason") or reason.get("type") or "")


def _incomplete(clusters: Mapping[str, Any]) -> int:
    return sum(_count(clusters.get(state)) for state in ("skipped", "partial", "failed"))
