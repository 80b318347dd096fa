"""What reuse by content means, as slowly and plainly as it can be said: lists and dicts, to compare the store with."""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Result:
    """A call that was started, by the saying of a token, and its answer once it has one. `replaces` is what it takes
    the place of then."""

    call_id: str
    token: str
    key: str
    number: int
    answer: str | None = None
    replaces: "Result | None" = None


@dataclass(eq=False)
class Said:
    """A call as a script says it, with the cell that says it."""

    key: str
    fresh: bool
    cell: str
    token: str


@dataclass(eq=False)
class Reference:
    """The results of one workflow in the order of their numbers, and for each pass which call has claimed which."""

    results: list[Result] = field(default_factory=list)
    claims: dict[str, list[tuple[Said, Result]]] = field(default_factory=dict)
    started: int = 0

    def _free(self, its_pass: str, key: str) -> Result | None:
        """Returns the first result of a key that the pass has not claimed, and that no call of it is to replace."""
        mine = [result for _, result in self.claims[its_pass]]
        spoken_for = mine + [result.replaces for result in mine if result.answer is None]
        left = [result for result in self.results if result.key == key and result not in spoken_for]
        return min(left, key=lambda result: result.number, default=None)

    def claim(self, its_pass: str, said: list[Said]) -> list[Result | None]:
        """Returns what each call of one go is answered by; None for those that have to run."""
        found: list[Result | None] = []
        for call in said:
            before = next((result for its, result in self.claims[its_pass] if its.token == call.token), None)
            result = before or (None if call.fresh else self._free(its_pass, call.key))
            if result is not None and before is None:
                self.claims[its_pass].append((call, result))
            found.append(result)
        return found

    def start(self, its_pass: str, call: Said, call_id: str) -> None:
        """A call runs, since nothing answered it."""
        number = max((result.number for result in self.results), default=0) + 1
        replaces = self._free(its_pass, call.key) if call.fresh else None
        result = Result(call_id, call.token, call.key, number, replaces=replaces)
        self.results.append(result)
        self.claims[its_pass].append((call, result))
        self.started += 1

    def finish(self, result: Result, answer: str) -> None:
        old, result.answer, result.replaces = result.replaces, answer, None
        if old is not None and old in self.results:
            result.number = old.number
            self.drop(old)

    def drop(self, result: Result) -> None:
        self.results.remove(result)
        for its_pass, claims in self.claims.items():
            self.claims[its_pass] = [(call, its) for call, its in claims if its is not result]

    def release(self, its_pass: str, cell: str) -> int:
        """A cell runs again: the pass lets go of what it claimed."""
        before = self.claims[its_pass]
        self.claims[its_pass] = [(call, its) for call, its in before if call.cell != cell]
        return len(before) - len(self.claims[its_pass])

    def flying(self, keys: set[str] | None = None) -> list[Result]:
        return [result for result in self.results if result.answer is None and (keys is None or result.key in keys)]
