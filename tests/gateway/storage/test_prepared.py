"""Prepared statements: what SQLAlchemy itself would make of them."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, create_engine, insert, select, text
from sqlalchemy.exc import IntegrityError

from gateway.storage.prepared import Prepared
from gateway.storage.tables import metadata, zones

ADD = Prepared(insert(zones), ["zone"])
FIND = Prepared(select(zones).where(zones.c.zone == bindparam("wanted")))
RENAME = Prepared(text("UPDATE zones SET zone = :new WHERE zone = :old -- a remark: no parameter\n"))


def test_rows_are_found_by_their_columns_names_and_counted() -> None:
    with create_engine("sqlite://").begin() as connection:
        metadata.create_all(connection, [zones])
        assert ADD.execute(connection, [{"zone": "a"}, {"zone": "b; DROP TABLE zones"}]).rowcount == 2
        ADD.execute(connection, {"zone": "c", "more than it needs": 1})
        assert FIND.execute(connection, {"wanted": "c"}).one().zone == "c"
        assert FIND.execute(connection, {"wanted": "d"}).one_or_none() is None
        assert RENAME.execute(connection, [{"old": "a", "new": "d"}, {"old": "x", "new": "y"}]).rowcount == 1
        assert sorted(connection.execute(select(zones.c.zone)).scalars()) == ["b; DROP TABLE zones", "c", "d"]


def test_what_the_database_refuses_is_raised_as_ever() -> None:
    with create_engine("sqlite://").begin() as connection:
        metadata.create_all(connection, [zones])
        ADD.execute(connection, {"zone": "a"})
        with pytest.raises(IntegrityError):
            ADD.execute(connection, {"zone": "a"})
