"""What the process that reads databases is asked and answers. See `__main__`."""

from typing import Any, Final

from msgspec import Struct

from .columns import Column, Type
from .query import Query

DONE: Final = b"done\n"
"""What follows a stream that is whole."""


class Question(Struct, frozen=True):
    """The database as its driver takes it, and a query; of its columns only names and types."""

    database: str
    text: str
    parameters: tuple[Any, ...]
    columns: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, database: str, asked: Query) -> "Question":
        """Returns the question that asks this."""
        columns = tuple((column.name, str(column.type)) for column in asked.columns)
        return cls(database, asked.text, asked.parameters, columns)

    @property
    def query(self) -> Query:
        """What is asked."""
        columns = tuple(Column(name, Type(type_), "") for name, type_ in self.columns)
        return Query(self.text, self.parameters, columns)


class Answer(Struct, frozen=True, omit_defaults=True):
    """How an answer begins: with what is wrong, if anything."""

    fault: str | None = None
